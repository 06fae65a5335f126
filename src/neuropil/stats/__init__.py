"""Pure functions on arrays: resampling, tests, regression paths, state-space recursions, similarity and information measures."""
