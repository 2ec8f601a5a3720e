"""Data sets that are published as MNIST is: from a data root or, where there is a network, loaded.

torchvision downloads; the files themselves are read here, because every one of them is checked
against its MD5, and torchvision would unpickle what it finds in an old ``MNIST/processed``.
"""

from __future__ import annotations

import os
from pathlib import Path

from harness.datasets.base import Dataset, checked
from harness.datasets.domain import Declaration
from harness.datasets.downloads import default_data_root, reason_of
from harness.datasets.idx import Files, locate, read_canonical
from harness.errors import DataError


class IdxSource:
    """60,000 training and 10,000 test images of 28 x 28 bytes, in the order of their files.

    ``title``: what the data are called; ``kept``: the name of torchvision's class, and of the
    folder in which it keeps the files; ``also``: where else below a data root they may lie.
    """

    name: str
    title: str
    kept: str
    also: tuple[str, ...] = ()
    declared: Declaration
    takes_argument = False

    def files(self) -> Files:
        """The four files and their MD5."""
        raise NotImplementedError

    def load(self, argument: str | None, data_root: Path | None) -> Dataset:
        """uint8 images (60,000, 28, 28) and (10,000, 28, 28).

        The four files are looked for where torchvision keeps them inside ``data_root``, in
        ``data_root`` itself and in :attr:`also`, and downloaded to the first of these when they are
        nowhere. Raises DataError where that fails, and for a file that is not the published one.
        """
        root = (data_root or default_data_root()).expanduser()
        files, raw = self.files(), root / self.kept / "raw"
        places = (raw, root, *(root / folder for folder in self.also))
        paths = next((found for place in places if (found := locate(place, files))), None)
        if paths is None:
            self._download(root, raw)
            paths = locate(raw, files)
        if paths is None:
            raise self._not_found(root, raw, "the download is not complete")
        arrays = read_canonical(paths, files, self.title)
        return checked(self.name, **arrays, declared=self.declared)

    def _download(self, root: Path, raw: Path) -> None:
        """Through torchvision into a fresh folder, then file by file into place, each one whole."""
        # Here, because they take long to import and few runs download anything.
        import tempfile
        from http.client import HTTPException

        import torchvision

        try:
            raw.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as folder:
                getattr(torchvision.datasets, self.kept)(folder, download=True)
                for name, _ in self.files().values():
                    os.replace(Path(folder) / self.kept / "raw" / name, raw / name)
        except (OSError, RuntimeError, HTTPException) as error:
            raise self._not_found(root, raw, reason_of(error)) from None

    def _not_found(self, root: Path, raw: Path, reason: str) -> DataError:
        names = ", ".join(f"{name}.gz" for name, _ in self.files().values())
        return DataError(
            f"{self.name} is not in {root} and could not be downloaded ({reason}); "
            f"put {names} into {raw} or name their folder with --data-root"
        )
