"""Data distributions, one file a family."""
