"""``fashion-mnist``: ten kinds of clothes, in MNIST's form. Zalando SE (Xiao et al. 2017); MIT."""

from __future__ import annotations

from harness.datasets.domain import Declaration
from harness.datasets.idx import Files
from harness.datasets.idx_source import IdxSource

# Of the uncompressed bytes: Debian's package compressed them anew, with other headers.
FILES: Files = {
    "x_train": ("train-images-idx3-ubyte", "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
    "y_train": ("train-labels-idx1-ubyte", "9018921c3c673c538a1fc5bad174d6f9"),
    "x_test": ("t10k-images-idx3-ubyte", "8181f5470baa50b63fa0f6fddb340f0a"),
    "y_test": ("t10k-labels-idx1-ubyte", "15d484375f8d13e6eb1aabb0c3f46965"),
}
LABELS = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


class FashionMnist(IdxSource):
    """Clothes: 60,000 training and 10,000 test images, in the order of the files.

    ``also``: where Debian's package ``dataset-fashion-mnist`` has them below share/datasets.
    """

    name, title, kept = "fashion-mnist", "Fashion-MNIST", "FashionMNIST"
    also = ("fashion-mnist",)
    summary = "Fashion-MNIST (60,000 training, 10,000 test images); from --data-root or downloaded"
    domain = (
        "28 x 28 values of uint8 from 0 to 255; ten labels, T-shirt/top to Ankle boot; "
        "n_public 60,000"
    )
    declared = Declaration(range(10), (0, 255), 60_000, LABELS)

    def files(self) -> Files:
        return FILES
