"""Pretrained networks: found by name or imported, cut before their head, in evaluation mode."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import UsageError, unknown

_FROM_MINUS_ONE = ("googlenet", "inception_v3")
"""Models of torchvision whose weights were trained on values from -1 to 1."""
_HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Network:
    """``module`` in evaluation mode; ``size``, ``mean``, ``std``: what its weights were trained on,
    where that is known; ``about``: what was pretrained, in words.
    """

    module: nn.Module
    about: str
    size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def load(model: str, weights: str | None) -> Network:
    """The network ``model``: of torchvision, by its name, or what ``MODULE:FUNCTION`` returns.

    ``weights``: the path of a state dict; without it torchvision's default ones, downloaded once,
    or those that the function gave. Nothing else than tensors is unpickled. Raises UsageError in
    one line.
    """
    found = _imported(model, weights) if ":" in model else _published(model, weights)
    for parameter in found.module.parameters():
        parameter.requires_grad = False
    found.module.eval()
    return found


def _published(model: str, weights: str | None) -> Network:
    from torchvision import models

    names = models.list_models(module=models)  # those that classify images
    if model not in names:
        raise unknown("model of torchvision (or give MODULE:FUNCTION)", model, names)
    preset = models.get_model_weights(model).DEFAULT
    form = preset.transforms()
    said = (int(form.crop_size[0]), tuple(form.mean), tuple(form.std))
    # torchvision itself turns what goes into these, scaled as for all others, to -1 ... 1.
    said = (said[0], _HALF, _HALF) if model in _FROM_MINUS_ONE else said
    # Random weights, which are replaced: drawing theirs takes half a minute, unless told.
    how = {"init_weights": False} if model in _FROM_MINUS_ONE else {}
    if weights is not None:
        module = models.get_model(model, weights=None, **how)
        _fill(module, weights)
        return Network(module, f"{model} with the weights in {Path(weights).name}", *said)
    try:
        state = preset.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # no network, no room, a file that was changed
        raise UsageError(
            f"features pretrained: the weights of {model} could not be downloaded ({_line(error)});"
            f" give a file, weights=PATH, from {preset.url}"
        ) from None
    module = models.get_model(model, weights=None, **how)
    module.load_state_dict(state)
    return Network(module, f"torchvision's {model} ({preset})", *said)


def _imported(model: str, weights: str | None) -> Network:
    try:
        with redirect_stdout(sys.stderr):  # what it prints is no part of a command's answer
            made = factory_of(model)()
    except UsageError:
        raise
    except Exception as error:  # whatever a user's function raises
        raise UsageError(f"features pretrained: {model}() failed: {_line(error)}") from None
    if not isinstance(made, nn.Module):
        raise UsageError(
            f"features pretrained: {model}() gave a {type(made).__name__}; wanted torch.nn.Module"
        )
    if weights is not None:
        _fill(made, weights)
    extra = "" if weights is None else f" with the weights in {Path(weights).name}"
    return Network(made, f"{model}(){extra}")


def factory_of(model: str) -> Callable[[], Any]:
    """The function that ``MODULE:FUNCTION`` names. Raises UsageError."""
    module, _, name = model.partition(":")
    try:
        with redirect_stdout(sys.stderr):
            found = getattr(importlib.import_module(module), name)
    except Exception as error:  # an import runs the module's own code
        raise UsageError(
            f"features pretrained: model {model!r} cannot be imported: {_line(error)}"
        ) from None
    if not callable(found):
        raise UsageError(f"features pretrained: model {model!r} is no function")
    function: Callable[[], Any] = found
    return function


def module_of(model: str) -> ModuleType | None:
    """The module of a user's function; None for a model of torchvision. Raises UsageError."""
    if ":" not in model:
        return None
    factory_of(model)
    return sys.modules[model.partition(":")[0]]


def _fill(module: nn.Module, weights: str) -> None:
    path = Path(weights).expanduser()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        module.load_state_dict(state)
    except FileNotFoundError:
        raise UsageError(f"features pretrained: weights {weights!r}: no such file") from None
    except Exception as error:  # what a file that is none makes the unpickler raise is not said
        raise UsageError(
            f"features pretrained: weights {weights!r} are no state dict of this model: "
            f"{_line(error)}"
        ) from None


def digest_of(module: nn.Module) -> str:
    """A digest of what a network computes with: its layers as they show, and all their values."""
    sha = hashlib.sha256(repr(module).encode())
    for name, value in sorted(module.state_dict(keep_vars=False).items()):
        if isinstance(value, Tensor):
            sha.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            plain = value.detach().cpu().contiguous().reshape(-1)
            sha.update(plain.view(torch.uint8).numpy().data)
        else:
            sha.update(f"{name} {value!r}".encode())
    return sha.hexdigest()


def head_of(module: nn.Module) -> str:
    """The name of the last linear layer, which classifies; empty where there is none."""
    linear = [name for name, one in module.named_modules() if isinstance(one, nn.Linear)]
    return linear[-1] if linear else ""


class Tapped:
    """Runs a network, and gives what goes into one of its layers, or comes out of it.

    ``layer``: the name of a layer, whose output it is; empty: what its head, the last linear layer,
    is given, or its own output where there is none. Raises UsageError for another name.
    """

    def __init__(self, module: nn.Module, layer: str) -> None:
        self._module, self._found = module, torch.empty(0)
        layers = dict(module.named_modules())
        if layer and layer not in layers:
            raise unknown("layer of the network", layer, [name for name in layers if name])
        head = head_of(module)
        if layer:
            layers[layer].register_forward_hook(self._keep_output)
        elif head:
            layers[head].register_forward_pre_hook(self._keep_input)
        else:
            module.register_forward_hook(self._keep_output)

    def __call__(self, x: Tensor) -> Tensor:
        """(m, d) of images (m, 3, s, s); spatial axes are averaged."""
        self._found = torch.empty(0)
        self._module(x)
        found = self._found
        if found.ndim > 2:
            found = found.flatten(2).mean(2)
        if found.ndim != 2 or len(found) != len(x) or not found.is_floating_point():
            raise UsageError(
                f"features pretrained: the network gives {found.dtype} of shape "
                f"{tuple(found.shape)} for {len(x)} images; wanted a row of numbers for each"
            )
        return found

    def _keep_output(self, _module: nn.Module, _given: Any, output: Any) -> None:
        self._found = output if isinstance(output, Tensor) else torch.empty(0)

    def _keep_input(self, _module: nn.Module, given: Any) -> None:
        self._found = given[0]


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return " ".join(lines[:2]) if lines else type(error).__name__
