"""Networks that a user may write; imported by name."""

import torch
from torch import nn
from torch.nn import functional


def tiny():
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 7),
    )
    with torch.no_grad():
        for value in module.parameters():
            value.copy_(torch.randn(value.shape, generator=generator))
    return module


class Mixing(nn.Module):
    """Normalises by what stands beside an image, in evaluation mode too."""

    def __init__(self):
        super().__init__()
        self.body = tiny()
        self.body[1] = nn.BatchNorm2d(4, track_running_stats=False)

    def forward(self, x):
        return self.body(x)


class Chance(nn.Module):
    """Leaves out units in evaluation mode too."""

    def forward(self, x):
        return functional.dropout(x.flatten(1), 0.5)


def maps():
    """No head: what it gives are maps."""
    return nn.Conv2d(3, 5, 3)


def infinite():
    class Infinite(nn.Module):
        def forward(self, x):
            return x.mean((2, 3)) * 1e38 * 1e38

    return Infinite()


def numbers():
    class Counting(nn.Module):
        def forward(self, x):
            return x.flatten(1).argmax(1)

    return Counting()


def no_module():
    return [1, 2]


def failing():
    raise OSError("one line\nand another")


NOT_CALLABLE = 3
