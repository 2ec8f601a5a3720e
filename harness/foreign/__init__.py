"""Votes that somebody else cast: reading, checking, certifying."""
