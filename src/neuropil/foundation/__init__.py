"""Activity into tokens, and networks pretrained on them."""
