"""A config-driven experiment runner for PyTorch."""
