"""Files that the data sets carry."""
