"""Running comparisons and claims: every finished piece is stored at once, so that whatever ends a run, the next one goes on from there."""
