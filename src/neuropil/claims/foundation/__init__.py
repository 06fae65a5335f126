"""Evidence for the systems of `neuropil.foundation`."""
