"""Pretrained networks as features: each row from its own image alone, and what is no network."""

import copy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

import harness
from harness.errors import UsageError
from harness.features.network import digest_of, load
from harness.features.pretrained import BATCH, IMAGENET_MEAN, IMAGENET_STD, Pretrained
from harness.features.spec import canonical
from harness.testing import check_features

NETS = "networks_of_a_user"
GREY = np.random.default_rng(0).integers(0, 256, size=(71, 12, 12), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, size=(40, 12, 12, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    yield
    sys.modules.pop(NETS, None)


def of(name, **parameters):
    return Pretrained(model=f"{NETS}:{name}", **parameters)


def test_what_goes_into_the_head_of_the_network_scaled_to_length_1():
    module = load(f"{NETS}:tiny", None).module
    assert not module.training
    x = torch.from_numpy(COLOUR).permute(0, 3, 1, 2).float() / 255
    x = functional.interpolate(x, (16, 16), mode="bilinear", antialias=True)
    x = (x - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(3, 1, 1)
    with torch.no_grad():
        expected = functional.normalize(module[:-1](x))
    computed = of("tiny", size=16).compute(COLOUR)
    assert computed.shape == (40, of("tiny").count((12, 12, 3))) == (40, 16)
    assert torch.allclose(computed, expected, atol=1e-6)


def test_grey_images_are_the_same_in_three_channels():
    again = np.repeat(GREY[..., None], 3, axis=3)
    assert torch.equal(of("tiny").compute(GREY), of("tiny").compute(again))
    assert torch.equal(of("tiny").compute(GREY), of("tiny").compute(GREY[..., None]))


def test_mean_std_layer_and_scale():
    plain = of("tiny", scale=1).compute(COLOUR)
    assert torch.allclose(functional.normalize(plain), of("tiny").compute(COLOUR), atol=1e-6)
    assert torch.equal(of("tiny", scale=0.5).compute(COLOUR), plain * 0.5)
    same = of("tiny", mean=list(IMAGENET_MEAN), std=list(IMAGENET_STD), scale=1)
    assert torch.equal(same.compute(COLOUR), plain)
    other = of("tiny", mean=0.0, std=1.0, scale=1).compute(COLOUR)
    assert not torch.allclose(other, plain)
    assert of("tiny", layer="5").compute(COLOUR).shape == (40, 7)
    assert of("tiny", layer="0").compute(COLOUR).shape == (40, 4)
    assert of("maps").compute(COLOUR).shape == (40, 5)


@pytest.mark.parametrize("name", ["tiny", "Mixing"])
def test_a_row_follows_from_its_image_alone(name):
    features = of(name)
    whole = features.compute(GREY)
    for some in ([0], [70], range(5, 40), range(3, 3 + BATCH), [9] * 40, range(70, -1, -1)):
        assert torch.equal(features.compute(GREY[list(some)]), whole[list(some)]), some
    other = GREY.copy()
    other[1:] = 255 - other[1:]
    assert torch.equal(features.compute(other)[0], whole[0])


def test_they_are_sound_features():
    check_features(of("tiny"))


def test_nothing_an_attacker_writes_becomes_infinite():
    x = np.full((3, 12, 12), 1e30, np.float32)
    assert of("tiny", scale=1).compute(x).isfinite().all()
    assert of("infinite").compute(GREY).isfinite().all()


def test_chance_is_refused():
    message = "Chance gives other rows for the same images again; wanted a network without chance"
    with pytest.raises(UsageError, match=message):
        of("Chance").compute(GREY)


def test_what_is_trusted_and_what_the_rows_follow_from():
    features = of("tiny")
    assert f"the data that {NETS}:tiny() was pretrained on" in features.trusts()
    assert features.behind == (sys.modules[NETS],)
    module = load(f"{NETS}:tiny", None).module
    assert features.content() == digest_of(module)
    features.compute(GREY)
    assert features.content() == digest_of(module)
    module[1].running_mean[2] += 1e-6
    assert features.content() != digest_of(module)


# Weights


def test_weights_of_a_file(tmp_path):
    module = load(f"{NETS}:tiny", None).module
    with torch.no_grad():
        module[0].weight.mul_(-1)
    torch.save(module.state_dict(), tmp_path / "w.pt")
    changed = of("tiny", weights=str(tmp_path / "w.pt"))
    assert "with the weights in w.pt" in changed.trusts()
    assert changed.content() == digest_of(module) != of("tiny").content()
    assert not torch.equal(changed.compute(GREY), of("tiny").compute(GREY))


def test_a_model_of_torchvision_with_weights_of_a_file(tmp_path):
    from torchvision.models import squeezenet1_1

    torch.save(squeezenet1_1(weights=None).state_dict(), tmp_path / "w.pt")
    features = Pretrained(model="squeezenet1_1", weights=str(tmp_path / "w.pt"), size=32)
    assert features.compute(GREY[:2]).shape == (2, 1000)
    assert features.behind == ()
    assert load("squeezenet1_1", str(tmp_path / "w.pt")).size == 224


def test_what_torchvision_does_to_images_for_some_models_is_done_here(tmp_path):
    from torchvision.models import googlenet

    module = googlenet(weights=None, init_weights=False)
    torch.save(module.state_dict(), tmp_path / "w.pt")
    start = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    module.eval().transform_input = True
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        wanted = module((start - mean) / std)
        module.transform_input = False
        assert not torch.allclose(module((start - mean) / std), wanted, rtol=1e-3)
        found = load("googlenet", str(tmp_path / "w.pt"))
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (found.mean, found.std))
        assert torch.allclose(found.module((start - mean) / std), wanted, rtol=1e-3)
    assert (found.mean, found.size) == ((0.5, 0.5, 0.5), 224)


class Opens:
    """Unpickled, it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_what_is_no_state_dict_and_runs_no_code(tmp_path):
    touched = tmp_path / "touched"
    torch.save(Opens(touched), tmp_path / "code.pt")
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    torch.save({"0.weight": torch.zeros(3)}, tmp_path / "other.pt")
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "empty.pt").touch()
    for name in ("code", "tensor", "other", "text", "empty"):
        path = str(tmp_path / f"{name}.pt")
        with pytest.raises(UsageError, match=f"weights '{path}' are no state dict") as told:
            of("tiny", weights=path).content()
        assert "\n" not in str(told.value)
    assert not touched.exists()
    with pytest.raises(UsageError, match=r"weights '/nowhere/w.pt': no such file"):
        of("tiny", weights="/nowhere/w.pt").content()


def test_no_network(monkeypatch):
    def refuse(*_args, **_more):
        raise OSError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setenv("TORCH_HOME", "/nowhere")
    with pytest.raises(UsageError, match=r"weights of resnet18 could not be downloaded") as told:
        Pretrained().content()
    assert "\n" not in str(told.value)
    assert "weights=PATH" in str(told.value)


# Values that are not allowed


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"model": "resnet19"}, "unknown model of torchvision .*'resnet19'.*resnet18"),
        ({"model": "nowhere:make"}, "'nowhere:make' cannot be imported: No module named 'nowhere'"),
        ({"model": f"{NETS}:nothing"}, "cannot be imported: .*no attribute 'nothing'"),
        ({"model": f"{NETS}:NOT_CALLABLE"}, "is no function"),
        ({"model": f"{NETS}:no_module"}, r"no_module\(\) gave a list; wanted torch.nn.Module"),
        ({"model": f"{NETS}:failing"}, r"failing\(\) failed: one line and another"),
        (
            {"model": f"{NETS}:tiny", "layer": "9"},
            "unknown layer of the network '9'; Allowed: 0, 1, 2, 3, 4, 5",
        ),
        ({"model": f"{NETS}:numbers"}, r"gives torch.int64 of shape \(32,\) for 32 images"),
    ],
)
def test_models_that_are_none(parameters, message):
    with pytest.raises(UsageError, match=message) as told:
        Pretrained(**parameters).compute(GREY)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("model", ["resnet19", "nowhere:make"])
def test_a_plan_refuses_them_in_one_line(model, tiny):
    with pytest.raises(UsageError, match=r"unknown model|cannot be imported"):
        harness.run(f"dpa[n_models=5,features=pretrained(model={model!r})]", dataset=tiny)


@pytest.mark.parametrize(
    "parameters",
    [
        {"model": 3}, {"layer": 3}, {"weights": 3}, {"size": 7}, {"size": 1.5}, {"mean": [1, 2]},
        {"mean": "a"}, {"std": 0}, {"std": [1, 1, 0]}, {"scale": 0}, {"scale": "unit"},
    ],
)  # fmt: skip
def test_values_that_are_not_allowed(parameters):
    (key,) = parameters
    with pytest.raises(UsageError, match=f"pretrained: {key}"):
        Pretrained(**parameters)


@pytest.mark.parametrize("shape", [(8, 8, 4), (8, 8, 2), (3, 3), (16,)])
def test_examples_that_it_cannot_take(shape):
    with pytest.raises(UsageError, match=r"features pretrained need images"):
        of("tiny").compute(np.zeros((2, *shape), np.uint8))


def test_it_is_written_as_text():
    text = f"pretrained(size=16,model='{NETS}:tiny',scale='length')"
    short = f"pretrained(model='{NETS}:tiny', size=16)"
    assert canonical(text, {"pretrained": Pretrained}) == short


def test_a_copy_computes_the_same():
    features = of("tiny")
    before = features.compute(GREY)
    assert torch.equal(copy.deepcopy(features).compute(GREY), before)
