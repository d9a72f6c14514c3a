"""Sweeps: an experiment at every point of a grid of its settings, as one labelled result."""
