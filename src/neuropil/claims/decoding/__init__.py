"""Evidence for the systems of `neuropil.decoding`."""
