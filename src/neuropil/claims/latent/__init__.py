"""Evidence for the systems of `neuropil.latent`."""
