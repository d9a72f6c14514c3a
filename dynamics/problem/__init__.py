"""What is trained, on what, and to lower which loss: one value, of pure functions."""

from dynamics.problem.penalties import GroupLasso, Lasso
from dynamics.problem.problem import Problem
from dynamics.problem.terms import Loss, Ridge

__all__ = ["GroupLasso", "Lasso", "Loss", "Problem", "Ridge"]
