"""Learning rules and network dynamics."""
