"""``cifar10``: CIFAR-10 (Krizhevsky 2009) from its binary version: plain bytes, no pickle.

https://www.cs.toronto.edu/~kriz/cifar.html: six files of 10,000 records, each a byte with the label
and 3,072 bytes with the image, its red, its green and its blue values row by row.
"""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from harness.datasets.base import Dataset, checked
from harness.datasets.domain import Declaration
from harness.datasets.downloads import default_data_root, reason_of
from harness.errors import DataError

ARCHIVE = "cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
FOLDER = "cifar-10-batches-bin"
TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST = ("test_batch.bin",)
LABELS = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"
)  # fmt: skip
RECORDS = 10_000
_IMAGE = 3 * 32 * 32


class Cifar10:
    """50,000 training and 10,000 test images in colour, in the order of the files."""

    name = "cifar10"
    summary = "CIFAR-10 (50,000 training, 10,000 test images); from --data-root or downloaded"
    takes_argument = False
    domain = (
        "32 x 32 x 3 values of uint8 from 0 to 255; ten labels, airplane to truck; n_public 50,000"
    )
    declared = Declaration(range(10), (0, 255), 50_000, LABELS)

    def load(self, argument: str | None, data_root: Path | None) -> Dataset:
        """uint8 images (50,000, 32, 32, 3) and (10,000, 32, 32, 3), colours last.

        The published archive is looked for in ``data_root``, then its unpacked files, in a folder
        of their name or in ``data_root`` itself; when there is neither, the archive is downloaded.
        The archive is checked against the published MD5. No digest is published of the files in it:
        of those, size and labels are checked. Raises DataError in one line that names the file.
        """
        root = (data_root or default_data_root()).expanduser()
        folders = (root / FOLDER, root)
        unpacked = next((f for f in folders if all((f / n).is_file() for n in TRAIN + TEST)), None)
        archive = root / ARCHIVE
        if unpacked is not None and not archive.is_file():
            arrays = _of_folder(unpacked)
        else:
            if not archive.is_file():
                _download(root)
            arrays = _of_archive(archive)
        return checked(self.name, **arrays, declared=self.declared)


def _download(root: Path) -> None:
    from http.client import HTTPException

    from torchvision.datasets.utils import download_url

    part = root / f".{ARCHIVE}.part"
    try:
        root.mkdir(parents=True, exist_ok=True)
        download_url(URL, str(root), part.name, MD5)
        part.rename(root / ARCHIVE)
    except (OSError, RuntimeError, HTTPException) as error:
        raise DataError(
            f"cifar10 is not in {root} and could not be downloaded ({reason_of(error)}); put "
            f"{ARCHIVE} or the folder {FOLDER} there, or name their place with --data-root"
        ) from None
    finally:
        part.unlink(missing_ok=True)


def _of_folder(folder: Path) -> dict[str, NDArray[np.uint8]]:
    with _readable(folder):
        return _arrays({name: (folder / name).read_bytes() for name in TRAIN + TEST}, str(folder))


def _of_archive(path: Path) -> dict[str, NDArray[np.uint8]]:
    with _readable(path), path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if found != MD5:
            raise DataError(f"{path} is not CIFAR-10's archive: its MD5 is {found}, not {MD5}")
        file.seek(0)
        return _arrays(_members(file), str(path))


def _members(file: IO[bytes]) -> dict[str, bytes]:
    contents = {}
    with tarfile.open(fileobj=file, mode="r:gz") as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is not None:
                contents[Path(member.name).name] = content.read()
    return contents


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from None


def _arrays(contents: dict[str, bytes], place: str) -> dict[str, NDArray[np.uint8]]:
    arrays = {}
    for part, names in (("train", TRAIN), ("test", TEST)):
        records = [_records(contents.get(name), f"{place}: {name}") for name in names]
        arrays[f"x_{part}"] = np.concatenate([images for images, _ in records])
        arrays[f"y_{part}"] = np.concatenate([labels for _, labels in records])
    return arrays


def _records(content: bytes | None, name: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images (10,000, 32, 32, 3) and labels (10,000,) of one file."""
    wanted = RECORDS * (1 + _IMAGE)
    if content is None or len(content) != wanted:
        found = "nothing" if content is None else f"{len(content):,} bytes"
        raise DataError(f"{name} holds {found}; wanted {wanted:,} bytes")
    records = np.frombuffer(content, np.uint8).reshape(RECORDS, 1 + _IMAGE)
    labels = records[:, 0]
    if labels.max() >= len(LABELS):
        raise DataError(f"{name} holds the label {labels.max()}; wanted 0 to {len(LABELS) - 1}")
    images = records[:, 1:].reshape(RECORDS, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels
