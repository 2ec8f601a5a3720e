"""Comparing two runs: what became worse, what became better, and what is noise."""
