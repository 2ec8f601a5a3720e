"""Drawing and writing what a run found."""
