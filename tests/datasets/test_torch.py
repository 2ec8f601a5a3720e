"""Map-style data sets of PyTorch and torchvision, read into a data set of the harness."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset, TensorDataset
from torchvision import transforms
from torchvision.datasets import FakeData, ImageFolder

from harness.datasets.base import Dataset
from harness.errors import DataError, HarnessError, UsageError

X = np.random.default_rng(0).integers(0, 256, (6, 8, 9, 3), np.uint8)
Y = [0, 1, 2, 0, 1, 2]
TENSORS = TensorDataset(torch.tensor(X), torch.tensor(Y))


class Pairs:
    """A map-style data set that is no class of PyTorch's, with what torchvision's have beside."""

    def __init__(self, x: Any, y: Any, **more: Any) -> None:
        self.x, self.y = x, y
        vars(self).update(more)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[Any, Any]:
        return self.x[i], self.y[i]


def pictures(x: np.ndarray[Any, Any] = X, **more: Any) -> Pairs:
    return Pairs([Image.fromarray(one) for one in x], Y, **more)


def refused(train: Any, test: Any = TENSORS, kind: type[HarnessError] = DataError, **more) -> str:
    with pytest.raises(kind) as error:
        Dataset.from_torch(train, test, **more)
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith("torch: ")
    return text.removeprefix("torch: ")


DIRECT = Dataset.from_arrays(X, Y, X, Y)


# The same data have the same digest


@pytest.mark.parametrize(
    "dataset",
    [
        TENSORS,
        pictures(),
        TensorDataset(torch.tensor(X).permute(0, 3, 1, 2), torch.tensor(Y)),
        Pairs(X, Y),
        Pairs(X, np.array(Y, np.float32)),
        list(zip(X, Y, strict=True)),
        Subset(TENSORS, range(6)),
        ConcatDataset([Subset(TENSORS, [0, 1]), Subset(TENSORS, [2, 3, 4, 5])]),
    ],
    ids=["last", "pictures", "first", "arrays", "floats", "list", "subset", "concatenated"],
)
def test_whatever_gives_the_same_pairs(dataset: Any) -> None:
    assert Dataset.from_torch(dataset, dataset).digest == DIRECT.digest


def test_a_subset_has_its_own_order() -> None:
    found = Dataset.from_torch(Subset(TENSORS, [5, 0, 4]), Subset(TENSORS, [1]))
    assert np.array_equal(found.x_train, X[[5, 0, 4]])
    assert found.y_train.tolist() == [2, 0, 1]


@pytest.mark.parametrize(("mode", "channels"), [("L", ()), ("RGB", (3,)), ("RGBA", (4,))])
def test_pictures_keep_their_bytes(mode: str, channels: tuple[int, ...]) -> None:
    images = [Image.fromarray(one).convert(mode) for one in X]
    found = Dataset.from_torch(Pairs(images, Y), Pairs(images, Y))
    assert found.x_train.dtype == np.uint8
    assert found.domain.example == (8, 9, *channels)
    assert all(np.array_equal(a, b) for a, b in zip(found.x_train, images, strict=True))


def test_pictures_have_their_channels_last_whatever_their_size() -> None:
    x = X[:, :3, :3]
    assert Dataset.from_torch(pictures(x), pictures(x)).domain.example == (3, 3, 3)
    assert np.array_equal(Dataset.from_torch(pictures(x), pictures(x)).x_train, x)
    wrong = "PIL images have their channels last, in both parts"
    assert refused(pictures(), pictures(), UsageError, channels="first") == wrong
    assert refused(pictures(), TENSORS, UsageError) == wrong


def test_fake_images_of_torchvision() -> None:
    def fake(size: int, transform: Any = None) -> FakeData:
        return FakeData(size, (3, 8, 8), num_classes=4, transform=transform)

    found = Dataset.from_torch(fake(30), fake(10), name="fake", label_set=range(4))
    assert (found.x_train.shape, found.x_train.dtype) == ((30, 8, 8, 3), np.uint8)
    tensors = Dataset.from_torch(
        fake(30, transforms.ToTensor()), fake(10, transforms.ToTensor()), range=(0, 1)
    )
    assert (tensors.x_train.shape, tensors.x_train.dtype) == ((30, 8, 8, 3), np.float32)
    assert np.array_equal(np.round(tensors.x_train * 255), found.x_train)
    assert tensors.domain.assumed == ("label_set", "n_public")
    pil = Dataset.from_torch(fake(30, transforms.PILToTensor()), fake(10, transforms.PILToTensor()))
    assert np.array_equal(pil.x_train, found.x_train)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_tensors_of_any_precision(kind: torch.dtype) -> None:
    part = TensorDataset(torch.tensor(X).to(kind).requires_grad_(), torch.tensor(Y))
    found = Dataset.from_torch(part, part)
    assert found.x_train.dtype == np.float32
    assert np.array_equal(found.x_train, X)


# Labels


@pytest.mark.parametrize(
    "more",
    [
        {"classes": ["c", "b", "a", "z"]},
        {"classes": ("c", "b", "a", "z"), "class_to_idx": {}},
        {"class_to_idx": {"z": 3, "a": 2, "c": 0, "b": 1}},
    ],
)
def test_listed_classes_are_the_declared_label_set(more: dict[str, Any]) -> None:
    part = Pairs(X, Y, **more)
    found = Dataset.from_torch(part, Subset(part, [0, 1]))
    assert found.label_names == ("c", "b", "a", "z")
    assert found.y_train.tolist() == Y
    assert found.domain.assumed == ("range", "n_public")


def test_a_label_set_comes_before_the_classes() -> None:
    part = Pairs(X, Y, classes=["a", "b", "c"])
    assert Dataset.from_torch(part, part, label_set=range(9)).n_labels == 9


@pytest.mark.parametrize("classes", [["a", "b", "a"], [("a", "b"), ("c",), ("d",)]])
def test_classes_without_a_name_each_are_numbers(classes: list[Any]) -> None:
    part = Pairs(X, Y, classes=classes)
    assert Dataset.from_torch(part, part).label_names == ("0", "1", "2")
    assert "label_set" not in Dataset.from_torch(part, part).domain.assumed


@pytest.mark.parametrize("how", ["target_transform", "transforms"])
def test_a_turned_label_has_no_class(how: str) -> None:
    turned = Pairs(X, [y % 2 for y in Y], classes=["a", "b", "c"], **{how: lambda *pair: pair})
    found = Dataset.from_torch(turned, turned)
    assert found.label_names == ("0", "1")
    assert "label_set" in found.domain.assumed


def test_classes_of_two_parts_must_be_the_same() -> None:
    parts = [Pairs(X, Y, classes=list(names)) for names in ("abc", "acb")]
    assert refused(*parts, kind=UsageError) == (
        "the classes of train and test differ (['a', 'b', 'c'] and ['a', 'c', 'b']); "
        "give a label_set, if their numbers mean the same"
    )
    assert Dataset.from_torch(*parts, label_set=["a", "b", "c"]).n_labels == 3


def test_folders_name_the_labels_and_do_not_declare_them(tmp_path: Path) -> None:
    """Who may add an example may add a folder."""
    for i, name in enumerate(["cat", "dog", "cat", "dog"]):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.fromarray(X[i]).save(tmp_path / name / f"{i}.png")
    folder = ImageFolder(str(tmp_path))
    found = Dataset.from_torch(folder, Subset(folder, [0, 3]))
    assert found.label_names == ("cat", "dog")
    assert found.domain.assumed == ("label_set", "range", "n_public")
    assert np.array_equal(found.x_train, X[[0, 2, 1, 3]])


@pytest.mark.parametrize("words", [["b", "a"] * 3, np.array(["b", "a"] * 3)])
def test_labels_may_be_strings(words: Any) -> None:
    found = Dataset.from_torch(Pairs(X, words), Pairs(X, words))
    assert (found.label_names, found.y_train.tolist()) == (("a", "b"), [1, 0] * 3)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (None, "the label of train[4] is NoneType; wanted one number or string"),
        (torch.tensor([0, 1]), "the label of train[4] is of shape (2,); wanted one number or"),
        (np.eye(3), "the label of train[4] is of shape (3, 3); wanted one number or string"),
        ([1], "the label of train[4] is list; wanted one number or string"),
        (0.5, "y_train holds 0.5 in example 4; wanted whole numbers"),
        (float("nan"), "y_train holds nan in example 4; wanted whole numbers"),
        (torch.tensor(0.5), "y_train holds 0.5 in example 4; wanted whole numbers"),
        ("one", "y_train holds 'one' in example 4; wanted whole numbers, or strings alone"),
    ],
)
def test_labels_that_are_none(label: Any, message: str) -> None:
    assert message in refused(Pairs(X, [*Y[:4], label, 0]))


# What is no fixed array


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(zip(X, Y, strict=True))


class Endless(Pairs):
    __len__ = None  # type: ignore[assignment]


class Counting(Pairs):
    """Another label at each reading."""

    def __init__(self) -> None:
        super().__init__(X, Y)
        self.read = count()

    def __getitem__(self, i: int) -> tuple[Any, Any]:
        return X[i], next(self.read)


class Broken(Pairs):
    def __getitem__(self, i: int) -> tuple[Any, Any]:
        if i == 3:
            raise OSError("a file\nis missing")
        return super().__getitem__(i)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Stream(), "train is a Stream, a stream; wanted a map-style data set"),
        (DataLoader(TENSORS), "train is a DataLoader; wanted a map-style data set, with len()"),
        (Endless(X, Y), "train is a Endless without len(); wanted a map-style data set"),
        (iter([]), "train is a list_iterator; wanted a map-style data set"),
        (None, "train is a NoneType; wanted a map-style data set"),
    ],
)
def test_what_cannot_be_read_by_number(dataset: Any, message: str) -> None:
    assert refused(dataset, kind=UsageError).startswith(message)


@pytest.mark.parametrize("chance", [0.1, 0.5, 1.0])
def test_a_random_transform_is_refused(chance: float) -> None:
    torch.manual_seed(0)

    def noisy(image: torch.Tensor) -> torch.Tensor:
        return image + torch.rand(()) * (torch.rand(()) < chance)

    change = transforms.Compose([transforms.ToTensor(), noisy])
    assert refused(FakeData(200, (3, 8, 8), transform=change), FakeData(9, (3, 8, 8))).endswith(
        " differs when it is read again; a training set must be a fixed array: "
        "take the random transform off"
    )


def test_a_random_label_is_refused() -> None:
    assert refused(Counting()).startswith("train[0] differs when it is read again")


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ([], "train is empty; wanted one example or more"),
        ([{"image": X[0], "label": 0}], "train[0] is a dict; wanted (example, label)"),
        ([(X[0], 0, 1)], "train[0] is a tuple of 3; wanted (example, label)"),
        ([X[0]], "train[0] is a ndarray; wanted (example, label)"),
        (TensorDataset(torch.tensor(X)), "train[0] is a tuple of 1; wanted (example, label)"),
        (Broken(X, Y), "train[3] cannot be read: OSError: a file is missing"),
        ({"a": (X[0], 0)}, "train[0] cannot be read: KeyError: 0"),
        (
            Pairs([X[0], X[1, :5]], [0, 1]),
            "train[1] is uint8 of shape (5, 9, 3), and train[0] uint8 of shape (8, 9, 3); wanted",
        ),
        (
            Pairs([X[0], X[1] / 2], [0, 1]),
            "train[1] is float64 of shape (8, 9, 3), and train[0] uint8 of shape",
        ),
        (
            Pairs([Image.fromarray(X[0]), Image.fromarray(X[1]).convert("L")], [0, 1]),
            "train[1] is uint8 of shape (8, 9), and train[0] uint8 of shape (8, 9, 3)",
        ),
        (
            Pairs([Image.fromarray(X[0]).convert("P")] * 2, [0, 1]),
            "train[0] is an image of mode P; wanted L, RGB, RGBA",
        ),
        (Pairs([object()] * 2, [0, 1]), "train[0] is a object; wanted an array"),
        (Pairs([float("nan")] * 2, [0, 1]), "x_train has shape (2,); wanted (examples, ...)"),
        (Pairs(X * np.nan, Y), "x_train holds nan in example 0; wanted finite numbers"),
    ],
)
def test_examples_that_do_not_fit(dataset: Any, message: str) -> None:
    assert refused(dataset).startswith(message)


def test_a_shape_that_may_be_either_is_not_guessed() -> None:
    x = torch.zeros(6, 3, 32, 3)
    x[:, 0] = 1
    part = TensorDataset(x, torch.tensor(Y))
    assert 'say channels="first" or channels="last"' in refused(part, part, UsageError)
    assert Dataset.from_torch(part, part, channels="first").domain.example == (32, 3, 3)
    assert Dataset.from_torch(part, part, channels="last").domain.example == (3, 32, 3)
