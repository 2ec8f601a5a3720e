"""Examples as an attacker might write them: the corners of a domain, of every type and shape."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

EXAMPLES = ((8, 8), (28, 28), (9, 12, 3), (12,))
"""Shapes of an example: grey images, a colour image that is not square, a row of a table."""

NOISE = 9
"""So many examples, the last ones, are noise and nothing worse."""


def hostile_examples(example: tuple[int, ...]) -> dict[str, NDArray[Any]]:
    """Examples (m, ...) of that shape, by a name for their type: bytes and floats.

    Constant ones, the smallest and largest values that a type holds, one value that differs from
    all others, values that alternate, and noise.
    """
    largest, tiny = float(np.finfo(np.float32).max), float(np.finfo(np.float32).smallest_subnormal)
    byte = _made(example, (0, 1, 127, 128, 255), (0, 255))
    noise = np.random.default_rng([2027, *example])
    byte += list(noise.integers(0, 256, (NOISE, *example)))
    real = _made(example, (0.0, -0.0, 0.5, 1.0, tiny, 1e20, largest, -largest), (-largest, largest))
    real += _made(example, (), (0.0, 1.0)) + _made(example, (), (tiny, 1e30))
    real += list(noise.normal(size=(NOISE, *example)))
    return {
        f"uint8 {example}": np.stack(byte).astype(np.uint8),
        f"float32 {example}": np.stack(real).astype(np.float32),
    }


def _made(
    example: tuple[int, ...], constants: tuple[float, ...], pair: tuple[float, float]
) -> list[NDArray[Any]]:
    """Constant examples, and some of two values: alternating, rising, one value among others."""
    low, high = pair
    size = int(np.prod(example))
    spot = np.full(size, low)
    spot[size // 2] = high
    alternating = np.where(np.arange(size) % 2 == 0, low, high)
    halves = np.where(np.arange(size) < size // 2, low, high)
    rest = [spot, low + (high - spot), alternating, halves]
    return [np.full(example, value) for value in constants] + [x.reshape(example) for x in rest]
