"""The form of a run's folder: what those who write it and those who read it have in common."""

SCHEMA = 2
"""Of the manifest and of the files beside it. Since 2, ``summary.csv`` has a ``kind``."""

NOT_COVERED = "not covered"
"""The guarantee of a row whose certificate does not cover the row's threat."""

HEAD = ("defense", "certificate", "threat", "guarantee")
CURVE_NUMBERS = ("r", "certified_accuracy")
CURVE_COLUMNS = (*HEAD, *CURVE_NUMBERS)
SUMMARY_TEXTS = (*HEAD, "kind")
SUMMARY_COLUMNS = (*SUMMARY_TEXTS, "clean_accuracy", "abstained", "median_radius", "max_radius")
"""What every summary begins with; certified accuracies and costs follow."""
