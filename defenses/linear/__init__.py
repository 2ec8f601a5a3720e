"""One linear model of all training examples, certified exactly against changed labels."""

from harness.defenses.linear.exact_ridge import ExactRidge

__all__ = ["ExactRidge"]
