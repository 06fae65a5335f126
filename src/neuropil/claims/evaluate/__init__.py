"""Evidence for the ways of evaluation in `neuropil.evaluate`."""
