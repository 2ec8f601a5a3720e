"""Partitions: base models trained on parts of the training set, each part found by a hash, vote."""

from harness.defenses.partition.dpa import Dpa
from harness.defenses.partition.finite_aggregation import FiniteAggregation
from harness.defenses.partition.hash_bagging import HashBagging
from harness.defenses.partition.ss_dpa import SsDpa

__all__ = ["Dpa", "FiniteAggregation", "HashBagging", "SsDpa"]
