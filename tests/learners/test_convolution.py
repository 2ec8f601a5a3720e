import pytest
import torch
from torch.nn import functional

from harness.learners.convolution import convolve


@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("channels", [1, 2])
def test_values_and_gradients_are_those_of_the_library(m, same, channels):
    generator = torch.Generator().manual_seed(0)
    given = [
        torch.rand(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in ((m, 2, 5, 4, channels), (m, 3, channels, 3, 3), (m, 3))
    ]
    weight = None
    found, expected = [], []
    ours = convolve(*given, same=same)
    theirs = torch.stack(
        [
            functional.conv2d(image.permute(0, 3, 1, 2), one, bias, padding=int(same))
            for image, one, bias in zip(*given, strict=True)
        ]
    ).permute(0, 1, 3, 4, 2)
    assert torch.allclose(ours, theirs)
    weight = torch.rand(ours.shape, generator=generator, dtype=torch.float64)
    found = torch.autograd.grad((ours * weight).sum(), given)
    expected = torch.autograd.grad((theirs * weight).sum(), given)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other)


def test_images_need_no_gradient():
    weights = torch.rand(2, 3, 1, 3, 3).requires_grad_()
    convolve(torch.rand(2, 1, 4, 4, 1), weights, torch.zeros(2, 3), same=False).sum().backward()
    assert weights.grad is not None
