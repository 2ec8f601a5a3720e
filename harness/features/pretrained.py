"""What a network that was trained on other data makes of an image.

Transfer learning with a fixed extractor, as in section 5 of Jia et al. 2021: the pretraining data
are out of the attacker's reach, by assumption, and each row follows from its own image.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from harness.errors import UsageError
from harness.features.base import Features
from harness.features.network import Network, Tapped, digest_of, load, module_of
from harness.features.tensors import images, is_image
from harness.specs.values import integer, number

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 32
"""Images that go through the network together, always so many: the last ones are filled up. How a
matrix product rounds may follow from how many rows it has, and no row may follow from that. Where a
row follows from what stands beside it or where, images go through one at a time."""


class Pretrained(Features):
    """What goes into the head of a pretrained network, scaled to length 1.

    ``model``: one of torchvision's, or ``MODULE:FUNCTION`` that returns a ``torch.nn.Module``.
    ``weights``: the path of its state dict; without it the published ones. ``size``: pixels of a
    side to which images are resized; ``mean`` and ``std``: of each channel, for values in [0, 1];
    without them, what torchvision says of the weights, else the image's own size and ImageNet's.
    ``layer``: another layer, by its name, whose output is wanted. ``scale``: ``"length"`` divides
    each row by its length; a number multiplies.
    """

    name = "pretrained"
    summary = "what goes into the head of a network trained on other data, which are trusted"
    dear = True

    def __init__(
        self,
        *,
        model: str = "resnet18",
        weights: str | None = None,
        size: int | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        layer: str = "",
        scale: float | str = "length",
    ) -> None:
        for key, value in (("model", model), ("layer", layer), ("weights", weights or "")):
            if not isinstance(value, str):
                raise UsageError(f"{self.name}: {key}={value!r} is not allowed; wanted text")
        self.model, self.weights, self.layer = model, weights, layer
        self.size = None if size is None else integer(self.name, "size", size, least=8)
        self.mean = None if mean is None else _channels(self.name, "mean", mean, zero=True)
        self.std = None if std is None else _channels(self.name, "std", std, zero=False)
        if isinstance(scale, str):
            if scale != "length":
                raise UsageError(
                    f"{self.name}: scale={scale!r} is not allowed; wanted 'length' or a number > 0"
                )
            self.scale: float | str = scale
        else:
            self.scale = number(self.name, "scale", scale)
        self._loaded: tuple[Network, Tapped] | None = None
        self._content: str | None = None
        self._tried: dict[int, tuple[int, int]] = {}

    @property
    def behind(self) -> tuple[ModuleType, ...]:
        module = module_of(self.model)
        return () if module is None else (module,)

    def content(self) -> str:
        if self._content is None:
            self._content = digest_of(self._network().module)
        return self._content

    def trusts(self) -> str:
        return f"the data that {self._network().about} was pretrained on, and whoever trained it"

    def check(self, example: tuple[int, ...]) -> None:
        if not is_image(example):
            raise UsageError(
                f"features {self.name} need images (height, width) or (height, width, channels), "
                f"and an example here has shape {example}"
            )
        if len(example) == 3 and example[2] not in (1, 3):
            raise UsageError(
                f"features {self.name} need images of 1 or 3 channels; here are {example[2]}"
            )

    def count(self, example: tuple[int, ...]) -> int:
        return self._try(self._side(example))[0]

    def compute(self, x: NDArray[Any], chunk: int | None = None) -> Tensor:
        return super().compute(x, chunk or 16 * BATCH)

    def rows(self, x: NDArray[Any]) -> Tensor:
        _, at_once = self._try(self._side(x.shape[1:]))
        parts = [x[i : i + at_once] for i in range(0, len(x), at_once)]
        return torch.cat([self._batch(part, at_once) for part in parts])

    def _try(self, side: int) -> tuple[int, int]:
        """How many numbers a row has, and how many images of that side may go through together.

        Raises UsageError for a network that is not the same function each time: one that leaves
        out units by chance in evaluation mode too, say.
        """
        if side not in self._tried:
            x = torch.rand(BATCH, 3, side, side, generator=torch.Generator().manual_seed(0))
            besides = torch.cat([x[:1], 1 - x[1:]])
            rows, again, other, rolled = (
                self._through(one).nan_to_num() for one in (x, x, besides, x.roll(1, 0))
            )
            if not torch.equal(rows, again):
                raise UsageError(
                    f"features {self.name}: {self.model} gives other rows for the same images "
                    "again; wanted a network without chance in evaluation mode"
                )
            alone = torch.equal(rows[0], other[0]) and torch.equal(rows.roll(1, 0), rolled)
            self._tried[side] = rows.shape[1], BATCH if alone else 1
        return self._tried[side]

    def _batch(self, x: NDArray[Any], at_once: int) -> Tensor:
        network, side = self._network(), self._side(x.shape[1:])
        image = images(x).clamp_(-_BRIGHTEST, _BRIGHTEST).to(self.device)
        image = image.expand(-1, 3, -1, -1)
        if image.shape[2:] != (side, side):
            # Each image by itself, though together: an interpolation mixes no two.
            image = functional.interpolate(
                image, size=(side, side), mode="bilinear", align_corners=False, antialias=True
            )
        mean = self.mean or network.mean or IMAGENET_MEAN
        std = self.std or network.std or IMAGENET_STD
        image = (image - _per_channel(mean, image)) / _per_channel(std, image)
        full = image.new_zeros(at_once, 3, side, side)
        full[: len(x)] = image
        return self._scaled(self._through(full)[: len(x)].float().cpu())

    def _through(self, image: Tensor) -> Tensor:
        _, tapped = self._ready()
        cudnn = torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), cudnn:
            return tapped(image.to(self.device).contiguous(memory_format=torch.channels_last))

    def _scaled(self, rows: Tensor) -> Tensor:
        rows = rows.nan_to_num(nan=0.0, posinf=_LONGEST, neginf=-_LONGEST)
        rows = rows.clamp(-_LONGEST, _LONGEST)
        if not isinstance(self.scale, str):
            return rows * self.scale
        # Summed one column after another: the order is the same, however many rows there are.
        length = rows.double().square().cumsum(1)[:, -1:].sqrt()
        return (rows.double() / length.clamp_min(torch.finfo(torch.float32).tiny)).float()

    def _network(self) -> Network:
        return self._ready()[0]

    def _ready(self) -> tuple[Network, Tapped]:
        if self._loaded is None:
            network = load(self.model, self.weights)
            if self._content is None:  # before hooks and formats, which are no part of it
                self._content = digest_of(network.module)
            self._loaded = network, Tapped(network.module, self.layer)
        network, _ = self._loaded  # which a plan loads before a device is chosen
        network.module.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self._loaded

    def _side(self, example: tuple[int, ...]) -> int:
        return self.size or self._network().size or max(example[:2])


_BRIGHTEST, _LONGEST = 1e4, 1e12
"""Beyond what images hold and networks give: what an attacker writes must not become infinite."""


def _channels(
    owner: str, key: str, value: float | Sequence[float], *, zero: bool
) -> tuple[float, ...]:
    """Three numbers, or one for all. Raises UsageError."""
    many = list(value) if isinstance(value, tuple | list) else [value] * 3
    if len(many) != 3:
        raise UsageError(f"{owner}: {key}={value!r} is not allowed; wanted one number or three")
    return tuple(number(owner, key, one, zero=zero) for one in many)


def _per_channel(values: Sequence[float], image: Tensor) -> Tensor:
    return torch.tensor(values, dtype=image.dtype, device=image.device).view(3, 1, 1)
