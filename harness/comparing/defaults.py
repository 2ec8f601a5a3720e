"""What fails a comparison unless the user says otherwise: apart, so that --help imports little."""

DEFAULT_GATES = ("certified_accuracy:-0.5pp", "clean_accuracy:-0.5pp", "median_radius:-10%")
