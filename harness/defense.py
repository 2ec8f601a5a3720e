"""The interface of a defense: ``gather`` trains (dear, cacheable), ``certify`` proves (cheap).

A defense is a subclass of :class:`Defense`. Its parameters are a pydantic model whose fields have
descriptions and bounds; the command line, the error messages and the documentation come from there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from harness.certificates import Certificate, Guarantee
from harness.threats import Threat

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from harness.datasets.base import Dataset
    from harness.datasets.domain import Domain
    from harness.datasets.poisoning import Poisoning
    from harness.features.base import Features
    from harness.learners.base import Learner

Arrays = Mapping[str, NDArray[Any]]
Made = TypeVar("Made")


class Parameters(BaseModel):
    """Base of every defense's parameters: unknown names are refused, values are fixed once made."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    symbols: ClassVar[Mapping[str, str]] = {}
    """What papers call parameters, by what they are called here: who types ``k`` finds
    ``n_models``."""

    @classmethod
    def certify_only(cls) -> frozenset[str]:
        """The fields that only ``certify`` reads: cells that differ there share their evidence."""
        return frozenset(
            name for name, field in cls.model_fields.items() if _stage(field) == "certify"
        )

    @classmethod
    def counts(cls) -> frozenset[str]:
        """The fields that only say how many base models there are: see :func:`count_field`."""
        return frozenset(
            name for name, field in cls.model_fields.items() if _stage(field) == "count"
        )


def _stage(field: FieldInfo) -> object:
    extra = field.json_schema_extra
    return extra.get("stage") if isinstance(extra, dict) else None


def certify_field(default: Any, **kwargs: Any) -> Any:
    """A pydantic field that only ``certify`` reads; changing it costs no training."""
    return Field(default, json_schema_extra={"stage": "certify"}, **kwargs)


def features_field(seen: str) -> Any:
    """A pydantic field for ``features``, which mean the same in every defense that has them."""
    about = "auto (hog for images, else raw), or any features with parameters, as hog(cells=7)"
    return Field("auto", description=f"{seen}: {about}")


def count_field(default: Any, **kwargs: Any) -> Any:
    """A pydantic field: how many base models are drawn, one like another, independently.

    ``blocks`` may read it and ``gather`` must not: what a block leaves is then the same however
    many blocks follow, so that a run with more base models goes on from one with fewer.
    """
    return Field(default, json_schema_extra={"stage": "count"}, **kwargs)


@dataclass(frozen=True)
class Shape:
    """The sizes of a data set: n, e, c and the shape of one example, and the public n.

    Plan with ``n_public``, the declared size of the clean training set: a number of parts, a
    penalty or a divisor that followed ``n_train`` would follow the attacker, who may insert and
    delete. It is ``n_train`` unless declared.
    """

    n_train: int
    n_test: int
    n_labels: int
    example: tuple[int, ...]
    n_public: int = 0

    def __post_init__(self) -> None:
        if not self.n_public:
            object.__setattr__(self, "n_public", self.n_train)

    @property
    def dimension(self) -> int:
        """d, the number of raw values in one example."""
        return int(np.prod(self.example))


class Lookup(Protocol):
    """What ``blocks`` may ask for by name, without any data: as :class:`Task` gives it."""

    def learner(self, spec: str) -> Learner:
        """As :meth:`Task.learner`."""
        ...

    def features(self, spec: str) -> Features:
        """What makes the features that :meth:`Task.features` gives."""
        ...


class Task(ABC):
    """What ``gather`` may know: the training set and the test inputs; never a test label or alpha.

    One task is one block: the base models ``models`` of one cell. Everything random must come from
    :meth:`rng`, which depends on the cell and on the block's index and on nothing else.
    """

    shape: Shape
    domain: Domain
    """What an example can be, whatever anybody writes: labels, shape, type and range."""
    x_train: NDArray[Any]
    """(n, ...) raw training examples."""
    y_train: NDArray[np.int64]
    """(n,) labels in 0 ... c - 1."""
    x_test: NDArray[Any]
    """(e, ...) raw test examples."""
    models: range
    """The base models of this block, by their index in the cell."""
    device: torch.device

    @abstractmethod
    def rng(self) -> np.random.Generator:
        """This block's generator: a fresh one, in the same state, at every call."""

    @abstractmethod
    def features(self, spec: str, rows: NDArray[np.int64] | None = None) -> tuple[Tensor, Tensor]:
        """``name``, ``name(key=value)`` or ``auto``: features of training (n, d) and test (e, d).

        float32 on :attr:`device`; a fixed map of each example by itself, computed once a run.
        ``auto``: hog for images, else raw. Raises UsageError for what names no features and where
        the examples have no such features.

        ``rows`` (any shape): those training examples alone, by their index, as (*rows.shape, d).
        Ask so where few are needed: of a data set that is larger than memory, ``npy:FOLDER``, no
        others are then read.
        """

    @abstractmethod
    def images(self, rows: NDArray[np.int64] | None = None) -> tuple[Tensor, Tensor]:
        """Raw examples as float32 images (n, channels, height, width), (e, ...) in [0, 1].

        ``rows``: as for :meth:`features`.
        """

    def labels(self) -> Tensor:
        """:attr:`y_train` as a tensor on :attr:`device`."""
        import torch

        return torch.tensor(self.y_train, device=self.device)

    @abstractmethod
    def learner(self, spec: str) -> Learner:
        """The learner that ``name`` or ``name(key=value)`` or a scikit-learn import path names."""

    def by_example(
        self, about: str, of: Callable[[NDArray[Any], NDArray[np.int64]], NDArray[Any]]
    ) -> NDArray[Any]:
        """``of(x_train, y_train)`` (n, ...), each row of which follows from its own example alone.

        ``about`` tells it from everything else that the cell asks for so. Attacks, which train on
        many sets that differ in a few examples, then ask for those few alone; the array is not to
        be changed.
        """
        return of(self.x_train, self.y_train)

    def of_set(self, about: str, make: Callable[[], Made]) -> Made:
        """``make()``, which follows from the training set alone, and not from the block.

        ``about`` as for :meth:`by_example`. Attacks make it once for all blocks.
        """
        return make()

    def once(
        self,
        rows: NDArray[np.int64],
        given: tuple[object, ...],
        make: Callable[[], Made],
        *,
        labels: bool = True,
    ) -> Made:
        """``make()``, which follows from the training examples ``rows`` (k,), in that order, with
        their ``labels`` if these count, from what is ``given``, and from nothing else.

        ``given``: what this task gave, such as features, images, a learner or what ``once`` made,
        and numbers and words, by which one knows what is made and with which random numbers.
        Attacks make once what is the same on many training sets: most base models of a partition.
        """
        return make()

    @abstractmethod
    def phase(self, name: str) -> AbstractContextManager[None]:
        """Counts the seconds spent inside as ``train`` or ``predict``."""

    @abstractmethod
    def advance(self, models: int) -> None:
        """Tells the progress bar that so many more base models of this block are done."""


@dataclass(frozen=True)
class Evidence(Mapping[str, NDArray[Any]]):
    """What training left behind: named arrays, and the sizes of what it was trained on."""

    arrays: Arrays
    n_train: int
    n_labels: int
    dimension: int

    def __getitem__(self, key: str) -> NDArray[Any]:
        return self.arrays[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


@dataclass(frozen=True)
class Answer:
    """What the defense says of the test example once it is trained on a poisoned set.

    ``prediction``: its label. ``radius``: what its certificate then proves of that label, -1 where
    it abstains. ``turned``: whether the attack has succeeded, which takes more than another label
    where a certificate is probabilistic. ``margin``: the predicted label's votes less those of the
    strongest other label, where the evidence has votes; else 0. ``failure``: what the defense
    failed with, which leaves no prediction.
    """

    prediction: int
    radius: int
    turned: bool
    margin: float = 0.0
    failure: str = ""


class Target(Protocol):
    """One test example of one trained cell, and all that an attacker may know: everything.

    The attacker of a certificate knows the defense, its parameters, the training set and the
    example. What it may not use is a random number that is drawn afterwards.
    """

    example: int
    """The test example, by its index."""
    predicted: int
    """The label that the defense predicts, trained on the clean set."""
    proved: int
    """The radius that is certified of it under the threat."""
    rivals: tuple[int, ...]
    """All other labels, the likeliest first."""
    notes: dict[str, Any]
    """What an attack remembers from one size to the next: its own for each threat and attack."""
    shared: dict[str, Any]
    """What attacks remember for all test examples and threats of the cell, by names of their own"""
    expected: int | None
    """How many examples should do, None where nobody knows. An attack that can tell sets it, and
    sizes near it are tried before others; what is reached is what training says."""

    @property
    def data(self) -> Dataset:
        """The clean training set, with its domain: ``data.x_train``, ``data.y_train``."""
        ...

    @property
    def x(self) -> NDArray[Any]:
        """(...) the raw test example."""
        ...

    @property
    def defense(self) -> Defense[Any]:
        """The defense, with its parameters."""
        ...

    @property
    def arrays(self) -> Arrays:
        """Its evidence from the clean training set, of this one test example (e = 1)."""
        ...

    def task(self, index: int = 0) -> Task:
        """Block ``index`` of the cell, as ``gather`` is given it: the clean training set, this one
        test example, features, learner, random numbers.
        """
        ...

    def features_of(self, spec: str, x: NDArray[Any]) -> Tensor:
        """The features (m, d) of raw examples ``x`` (m, ...), as :meth:`Task.features` has them."""
        ...

    def nearness(self) -> NDArray[Any]:
        """(n,) training examples, by their index, the nearest to the test example first: in the
        features that the defense names, else in raw values.
        """
        ...

    def ask(self, poisoning: Poisoning) -> Answer:
        """Trains on that poisoned set and says what came of it. As dear as a training; it counts
        against the budget.
        """
        ...


P = TypeVar("P", bound=Parameters)


class Defense(ABC, Generic[P]):
    """A certified defense. Subclasses set the class variables and write three methods.

    ``name`` is how it is selected; ``title`` one line for people; ``paper`` its source. ``Params``
    is its parameters' model. ``covers`` lists the threats under which it can prove something.

    ``needs`` says what ``certify`` must be told about base models that somebody else trained, name
    to meaning: arrays of the evidence, ``n_train`` and ``dimension`` if it reads them, and every
    parameter of the training that it reads. Nothing in there is ever assumed. Empty, as it is at
    first, where it cannot work from other people's models. ``takes``, likewise, is what ``certify``
    can do without: if it is not told, it assumes the worst.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    Params: ClassVar[type[Parameters]] = Parameters
    needs: ClassVar[Mapping[str, str]] = {}
    takes: ClassVar[Mapping[str, str]] = {}

    tried_with: ClassVar[Mapping[str, Any]] = {}
    """Parameters with which something is certified on two dozen training examples, where it is not
    with a few base models: :mod:`harness.testing` attacks what is certified with these as well."""

    isolated: ClassVar[bool] = False
    """Whether a base model may depend on nothing but its own examples, as the certificates of
    bagging and of partitions assume. Say so, and :mod:`harness.testing` checks it."""

    def __init__(self, params: P) -> None:
        self.params = params

    @abstractmethod
    def covers(self) -> frozenset[Threat]:
        """The threats that these parameters' certificate covers."""

    def check(self, shape: Shape) -> None:
        """Raises UsageError where the parameters cannot work on data of that shape.

        What a poisoning can change, ``shape.n_train``, must not decide: a training set that is
        refused has no prediction, and no certificate covers that.
        """

    def blocks(self, shape: Shape, lookup: Lookup) -> Sequence[range]:
        """How the base models are cut into blocks: by the cell alone, not by the machine.

        The default trains everything as one block of ``n_models`` base models (1 without such a
        parameter). ``lookup`` knows the learner and the features that a parameter names.
        """
        return [range(int(getattr(self.params, "n_models", 1)))]

    @abstractmethod
    def gather(self, task: Task) -> Arrays:
        """Train the base models of one block; return named arrays, enough to certify from."""

    def merge(self, parts: Sequence[Arrays]) -> Arrays:
        """One evidence from the blocks' arrays, in their order. The default adds them up."""
        return {key: np.sum([part[key] for part in parts], axis=0) for key in parts[0]}

    def guarantee(self, alpha: float) -> Guarantee:
        """The guarantee that :meth:`certify` gives at that alpha."""
        return Guarantee.probabilistic(alpha)

    @abstractmethod
    def certify(self, evidence: Evidence, threat: Threat, alpha: float) -> Certificate:
        """What the evidence proves under a threat in :meth:`covers`, with error probability alpha.

        Never trains, never sees a test label, gives the same answer every time.
        """

    def attack(self, target: Target, threat: Threat, r: int) -> Poisoning | None:
        """The most harmful poisoning of at most ``r`` training examples against one test example.

        For ``harness attack``, from what only this defense knows: which parts are cheapest, which
        neighbours vote. As :meth:`harness.attacks.base.Attack.poison`; None, as here, where it
        knows no better than the attacks that any defense is put to.
        """
        return None


def even_blocks(n_models: int, size: int) -> list[range]:
    """Blocks of ``size`` base models each; the last one may be smaller."""
    return [range(start, min(start + size, n_models)) for start in range(0, n_models, size)]
