"""Builds the embedded ``mnist17.npz`` from MNIST's canonical files.

python -m harness.datasets.build_mnist17 --source FOLDER --output datasets/data/mnist17.npz
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.datasets.idx import FILES, locate, read_canonical
from harness.errors import DataError, HarnessError

DIGITS = (1, 7)
TIMESTAMP = (1980, 1, 1, 0, 0, 0)
"""The earliest that a zip archive knows: bytes must not depend on when they were written."""


def only(digits: Sequence[int], arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The examples of those digits, in their order; ``arrays`` as in :data:`FILES`."""
    keep = {part: np.isin(arrays[f"y_{part}"], digits) for part in ("train", "test")}
    return {key: array[keep[key[2:]]] for key, array in arrays.items()}


def write_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """A deflated .npz whose bytes depend on the arrays alone (and on zlib).

    It is written under another name and then renamed, so a half-written one is never found.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        with zipfile.ZipFile(temporary, "w") as archive:
            for key, array in arrays.items():
                entry = zipfile.ZipInfo(f"{key}.npy", TIMESTAMP)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                entry.create_system = 3  # Unix everywhere: it would say where it was built
                with archive.open(entry, "w") as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
        os.replace(temporary, path)


def main(arguments: Sequence[str] | None = None) -> int:
    """The program: returns its exit code, 2 with one line where a file is missing or wrong."""
    parser = argparse.ArgumentParser("build_mnist17", description="Builds mnist17.npz.")
    parser.add_argument("--source", type=Path, required=True, help="folder of MNIST's four files")
    parser.add_argument("--output", type=Path, required=True, help="the .npz file to write")
    options = parser.parse_args(arguments)
    try:
        paths = locate(options.source)
        if paths is None:
            names = ", ".join(name for name, _ in FILES.values())
            raise DataError(f"{options.source} does not hold all of {names} (.gz or plain)")
        arrays = only(DIGITS, read_canonical(paths))
        write_npz(options.output, arrays)
    except (HarnessError, OSError) as error:
        print(f"build_mnist17: {error}", file=sys.stderr)
        return 2
    print(f"{options.output}: {len(arrays['y_train'])} training, {len(arrays['y_test'])} test")
    return 0


if __name__ == "__main__":
    sys.exit(main())
