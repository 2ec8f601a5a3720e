"""The data sets that come with the harness, registered like any plugin's."""

from harness import hookimpl
from harness.datasets.base import DatasetSource
from harness.datasets.cifar10 import Cifar10
from harness.datasets.fashion_mnist import FashionMnist
from harness.datasets.mnist import Mnist
from harness.datasets.mnist17 import Mnist17
from harness.datasets.npy import Npy
from harness.datasets.npz import Npz
from harness.datasets.sklearn_sets import SklearnSets
from harness.datasets.tables import Csv, Parquet


@hookimpl
def harness_register_datasets() -> list[DatasetSource]:
    """Those by name, and ``npz:``, ``npy:``, ``csv:``, ``parquet:`` and ``sklearn:``."""
    named: list[DatasetSource] = [Mnist17(), Mnist(), FashionMnist(), Cifar10()]
    return [*named, Npz(), Npy(), Csv(), Parquet(), SklearnSets()]
