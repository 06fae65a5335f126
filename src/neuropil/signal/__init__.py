"""Filters, spectra, features and noise: pure functions on arrays."""
