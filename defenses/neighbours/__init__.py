"""Nearest neighbours: the training examples near a test example vote, and the vote is exact."""

from harness.defenses.neighbours.knn import Knn
from harness.defenses.neighbours.rnn import Rnn

__all__ = ["Knn", "Rnn"]
