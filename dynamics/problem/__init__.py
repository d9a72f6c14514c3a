"""What is trained, on what, and to lower which loss: one value, of pure functions."""

from dynamics.problem.problem import Problem

__all__ = ["Problem"]
