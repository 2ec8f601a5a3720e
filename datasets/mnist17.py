"""``mnist17``: MNIST's digits 1 and 7, embedded in the package, so that a first run needs no file.

Yann LeCun, Corinna Cortes; CC BY-SA 3.0. ``build_mnist17.py`` made the file from MNIST's own.
"""

from importlib import resources
from pathlib import Path

from harness.datasets.base import Dataset
from harness.datasets.domain import Declaration
from harness.datasets.npz import load_npz
from harness.errors import DataError

DOMAIN = Declaration(label_set=(1, 7), value_range=(0, 255), n_public=13_007)
FILE = "mnist17.npz"
DIGEST = "9c85dd72c17071a0816d3e7937ccdc73a96a2315f557ad87d06e74b4b02ecd17"
"""SHA-256 of the arrays and label names, as :attr:`Dataset.digest` defines it."""


class Mnist17:
    """Ones against sevens: 13,007 training and 2,163 test images, in MNIST's order."""

    name = "mnist17"
    summary = "MNIST's digits 1 and 7 (13,007 training, 2,163 test images); needs no download"
    takes_argument = False
    domain = "28 x 28 values of uint8 from 0 to 255; the labels 1 and 7; n_public 13,007"

    def load(self, argument: str | None, data_root: Path | None) -> Dataset:
        """uint8 images (13,007, 28, 28) and (2,163, 28, 28); label 0 is the digit 1, 1 is the 7.

        Raises DataError where the installed file is missing or not the one that was published.
        """
        file = resources.files("harness.datasets.data") / FILE
        try:
            with file.open("rb") as stream:
                dataset = load_npz(self.name, stream, DOMAIN)
        except FileNotFoundError:
            raise DataError(f"{file} is missing; install the harness again") from None
        if dataset.digest != DIGEST:
            raise DataError(
                f"{file} was changed: SHA-256 {dataset.digest}, not {DIGEST}; "
                "install the harness again"
            )
        return dataset
