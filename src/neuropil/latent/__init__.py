"""Activity to its hidden structure: states, factors, communities, connectivity."""
