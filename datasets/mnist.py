"""``mnist``: all ten digits. Yann LeCun, Corinna Cortes; CC BY-SA 3.0."""

from __future__ import annotations

from harness.datasets.domain import Declaration
from harness.datasets.idx import FILES, Files
from harness.datasets.idx_source import IdxSource


class Mnist(IdxSource):
    """The ten digits: 60,000 training and 10,000 test images, in MNIST's order; a label is its
    digit.
    """

    name, title, kept = "mnist", "MNIST", "MNIST"
    summary = "MNIST (60,000 training, 10,000 test images); from --data-root or downloaded"
    domain = "28 x 28 values of uint8 from 0 to 255; the labels 0 to 9; n_public 60,000"
    declared = Declaration(label_set=range(10), value_range=(0, 255), n_public=60_000)

    def files(self) -> Files:
        return FILES
