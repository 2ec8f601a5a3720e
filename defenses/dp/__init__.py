"""Defenses by differential privacy (Ma et al. 2019). Importing it loads no torch or opacus."""

from harness.defenses.dp.defense import DifferentialPrivacy, DifferentialPrivacyParameters

__all__ = ["DifferentialPrivacy", "DifferentialPrivacyParameters"]
