"""Carrying attacks out: the smallest that changes a prediction, and what that says."""
