"""Closed forms that theorems predict, one file a paper; NumPy only, drawn dashed beside what was measured."""
