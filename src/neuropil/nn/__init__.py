"""Small torch building blocks that two systems or more share."""
