"""The data sets that come with the harness, registered like any plugin's."""

from harness import hookimpl
from harness.datasets.base import DatasetSource
from harness.datasets.mnist import Mnist
from harness.datasets.mnist17 import Mnist17
from harness.datasets.npz import Npz


@hookimpl
def harness_register_datasets() -> list[DatasetSource]:
    """``mnist17``, ``mnist`` and ``npz:PATH``."""
    return [Mnist17(), Mnist(), Npz()]
