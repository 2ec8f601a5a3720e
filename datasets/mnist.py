"""``mnist``: all ten digits, from a data root or, where the network allows it, downloaded.

torchvision downloads; the files themselves are read here, because every one of them is checked
against MNIST's MD5, and torchvision would unpickle what it finds in an old ``MNIST/processed``.
"""

from __future__ import annotations

import os
from pathlib import Path

from harness.datasets.base import Dataset, checked
from harness.datasets.domain import Declaration
from harness.datasets.idx import FILES, locate, read_canonical
from harness.errors import DataError

DOMAIN = Declaration(label_set=range(10), value_range=(0, 255), n_public=60_000)
RAW = Path("MNIST", "raw")
"""Where torchvision keeps the files inside a data root."""


class Mnist:
    """The ten digits: 60,000 training and 10,000 test images, in MNIST's order."""

    name = "mnist"
    summary = "MNIST (60,000 training, 10,000 test images); from --data-root or downloaded"
    takes_argument = False
    domain = "28 x 28 values of uint8 from 0 to 255; the labels 0 to 9; n_public 60,000"

    def load(self, argument: str | None, data_root: Path | None) -> Dataset:
        """uint8 images (60,000, 28, 28) and (10,000, 28, 28); a label is its digit.

        The four files are looked for in ``data_root/MNIST/raw`` and in ``data_root`` itself, and
        downloaded into the former when they are in neither. Raises DataError where that fails, and
        for a file that is not MNIST's.
        """
        root = (data_root or default_data_root()).expanduser()
        paths = locate(root / RAW) or locate(root)
        if paths is None:
            _download(root)
            paths = locate(root / RAW)
        if paths is None:
            raise _not_found(root, "the download is not complete")
        arrays = read_canonical(paths)
        return checked(self.name, **arrays, declared=DOMAIN)


def default_data_root() -> Path:
    """Where downloaded data sets are kept when no data root is given: a folder in the cache."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "poisoning-harness"


def _download(root: Path) -> None:
    """Through torchvision into a fresh folder, then file by file into place, each one whole."""
    # Here, because they take long to import and few runs download anything.
    import tempfile
    from http.client import HTTPException

    from torchvision.datasets import MNIST

    try:
        (root / RAW).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as folder:
            MNIST(folder, download=True)
            for name, _ in FILES.values():
                os.replace(Path(folder) / RAW / name, root / RAW / name)
    except (OSError, RuntimeError, HTTPException) as error:
        reason = str(error).strip().splitlines()
        raise _not_found(root, reason[-1] if reason else type(error).__name__) from None


def _not_found(root: Path, reason: str) -> DataError:
    names = ", ".join(f"{name}.gz" for name, _ in FILES.values())
    return DataError(
        f"mnist is not in {root} and could not be downloaded ({reason}); "
        f"put {names} into {root / RAW} or name their folder with --data-root"
    )
