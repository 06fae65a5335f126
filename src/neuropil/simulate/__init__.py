"""Generators of recordings with known ground truth."""
