"""Blocks trained by the workers of a Dask cluster: ``--workers``, ``--scheduler``."""
