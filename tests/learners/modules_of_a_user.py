"""What a user's file might hold: factories of modules for ``torch(module=...)``."""

import torch
from torch import nn


def linear(example, n_labels, width=16):
    size = int(torch.tensor(example).prod())
    return nn.Sequential(
        nn.Flatten(), nn.Linear(size, width), nn.ReLU(), nn.Linear(width, n_labels)
    )


def dropping(example, n_labels):
    return nn.Sequential(linear(example, n_labels), nn.Dropout(0.1))


def normalised(example, n_labels):
    return nn.Sequential(linear(example, n_labels), nn.BatchNorm1d(n_labels))


def convolving(example, n_labels):
    return nn.Sequential(nn.Conv2d(example[0], 4, 3), nn.ReLU(), nn.Flatten(),
                         nn.Linear(4 * (example[1] - 2) * (example[2] - 2), n_labels))  # fmt: skip


class Branching(nn.Module):
    """Its control flow follows the data."""

    def __init__(self, example, n_labels):
        super().__init__()
        self.one, self.two = linear(example, n_labels), linear(example, n_labels)

    def forward(self, x):
        return self.one(x) if x.mean() > 0.3 else self.two(x)


def frozen(example, n_labels):
    made = linear(example, n_labels)
    made[1].requires_grad_(False)
    return made


def no_module(example, n_labels):
    return "module"


def nothing_to_train(example, n_labels):
    return nn.Flatten()


def wrong_shape(example, n_labels):
    return linear(example, n_labels + 1)


class Failing(nn.Linear):
    def forward(self, x):
        raise RuntimeError("one line\nand another")


def failing(example, n_labels):
    return Failing(1, n_labels)


def one_argument(example):
    return linear(example, 2)


NOT_CALLABLE = 3
