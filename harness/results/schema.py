"""The form of a run's folder: what those who write it and those who read it have in common."""

SCHEMA = 3
"""Of the manifest and of the files beside it. Since 2, ``summary.csv`` has a ``kind``; since 3,
cells have a seed and an alpha of their own, and ``train_s`` is without shared features."""

UNFINISHED = "unfinished"
"""Where a manifest, as it was read, names the cells that were begun and not finished."""

NOT_COVERED = "not covered"
"""The guarantee of a row whose certificate does not cover the row's threat."""

ACCURACY = "certified_accuracy"
"""The column of what is certified at r, and how those of the summary begin."""

PREDICTIONS = "certified_predictions"
"""The same where nobody knows the true labels: the share of test examples whose prediction is
certified, right or wrong. In memory both are called ACCURACY; the manifest tells which it is."""

HEAD = ("defense", "certificate", "threat", "guarantee")
CURVE_NUMBERS = ("r", ACCURACY)
CURVE_COLUMNS = (*HEAD, *CURVE_NUMBERS)
SUMMARY_TEXTS = (*HEAD, "kind")
SUMMARY_COLUMNS = (*SUMMARY_TEXTS, "clean_accuracy", "abstained", "median_radius", "max_radius")
"""What every summary begins with; certified accuracies and costs follow."""
