"""Evidence for the systems of `neuropil.learning`."""
