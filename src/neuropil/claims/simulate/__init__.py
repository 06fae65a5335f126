"""Evidence for the generators of `neuropil.simulate`."""
