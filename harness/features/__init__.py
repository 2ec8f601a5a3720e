"""Fixed maps from a raw example to what base models see."""
