"""Modules of a user's own as base learners."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from harness.errors import UsageError
from harness.learners.modules import TOGETHER, TorchModule, _allows
from harness.learners.spec import canonical, resolve
from harness.plugins.lookup import classes_behind
from harness.running.code import code_digest

HERE = Path(__file__).parent
USER = "modules_of_a_user"


@pytest.fixture(autouse=True, scope="module")
def user():
    sys.path.insert(0, str(HERE))
    import modules_of_a_user

    yield modules_of_a_user
    sys.path.remove(str(HERE))


def data(m, k, *example, n_labels=3):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(m, k, *example, generator=generator)
    y = torch.randint(n_labels, (m, k), generator=generator)
    y[:, 0], y[:, 1] = 0, 1
    return x, y


def fit(name, x, y, n_labels=3, **parameters):
    learner = TorchModule(f"{USER}:{name}", images=x.ndim == 5, **{"epochs": 2, **parameters})
    return learner.fit(x, y, n_labels, np.random.default_rng(7))


@pytest.mark.parametrize(
    ("name", "together"),
    [
        ("linear", True), ("frozen", True), ("dropping", False), ("normalised", False),
        ("Branching", False),
    ],
)  # fmt: skip
def test_what_is_trained_several_at_once(user, name, together):
    x, y = data(2, 6, 5)
    learner = TorchModule(f"{USER}:{name}", images=False, epochs=1)
    learner.fit(x, y, 3, np.random.default_rng(0))
    (size,) = learner._together.values()
    assert size == (TOGETHER["cpu"] if together else 1)
    if name in ("dropping", "Branching"):  # torch.func says so; running statistics are refused
        assert not _allows(getattr(user, name)((5,), 3), torch.zeros(2, 2, 5))


def test_both_ways_train_as_a_loop_over_the_examples_does(user):
    """The same first weights, batches and steps in a plain loop give the same module."""
    x, y = data(3, 11, 5)
    together = fit("linear", x, y, batch=4, rate=0.01)
    present = torch.ones_like(y, dtype=torch.bool)
    learner = TorchModule(f"{USER}:linear", epochs=2, batch=4, rate=0.01, images=False)
    alone = learner.fit(x, y, 3, np.random.default_rng(7), present)
    seeds = np.random.default_rng(7).integers(2**63, size=(3, 2))
    for i in range(3):
        with torch.random.fork_rng([]):
            torch.manual_seed(int(seeds[i, 0]))
            module = user.linear((5,), 3)
        generator = torch.Generator().manual_seed(int(seeds[i, 1]))
        optimiser = torch.optim.Adam(module.parameters(), lr=0.01)
        missing = ~torch.isin(torch.arange(3), y[i])
        for _ in range(2):
            for batch in torch.randperm(11, generator=generator).tensor_split(3):
                logits = module(x[i, batch]).masked_fill(missing, -torch.inf)
                optimiser.zero_grad()
                functional.cross_entropy(logits, y[i, batch]).backward()
                optimiser.step()
        for models in (together, alone):
            for ours, theirs in zip(
                models.modules[i].parameters(), module.parameters(), strict=True
            ):
                assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("name", ["linear", "dropping", "normalised"])
def test_a_model_does_not_depend_on_how_many_are_fitted_with_it(name):
    """Not even in its rounding: groups are padded."""
    x, y = data(10, 6, 5)
    ten, one = fit(name, x, y), fit(name, x[:1], y[:1])
    assert torch.equal(ten.scores(x[0], 3)[0], one.scores(x[0], 3)[0])
    assert not torch.equal(ten.scores(x[0], 3)[0], ten.scores(x[0], 3)[1])


def test_images_and_running_statistics():
    x, y = data(2, 8, 1, 6, 7)
    models = fit("convolving", x, y)
    assert models.scores(x[0], 3).shape == (2, 8, 3)
    models = fit("normalised", x, y)
    assert not models.modules[0].training
    assert models.modules[0][1].num_batches_tracked == 2


def test_frozen_parameters_stay(user):
    x, y = data(2, 6, 5)
    before, after = fit("frozen", x, y, rate=1e-12), fit("frozen", x, y, rate=0.1)
    for one, other in zip(before.modules, after.modules, strict=True):
        assert torch.equal(one[1].weight, other[1].weight)
        assert not torch.allclose(one[3].weight, other[3].weight)


def test_batches_are_equal_parts():
    learner = TorchModule(f"{USER}:linear", epochs=2, batch=4)
    sizes = [len(batch) for batch in learner._batches(9, 0)]
    assert sizes == [3, 3, 3, 3, 3, 3]
    assert list(learner._batches(0, 0)) == []


def test_parameters_reach_the_function():
    x, y = data(1, 4, 5)
    models = fit("linear", x, y, parameters={"width": 3})
    assert isinstance(models.modules[0], nn.Sequential)
    assert models.modules[0][1].out_features == 3


def test_its_text():
    text = "torch(epochs=5, module='modules_of_a_user:linear', parameters={'width': 3})"
    learner = resolve(text, {"torch": TorchModule})
    assert (learner.epochs, learner.parameters, learner.images) == (5, {"width": 3}, True)
    plain = canonical(
        f"torch(module='{USER}:linear', rate=0.001, epochs=5)", {"torch": TorchModule}
    )
    assert plain == "torch(epochs=5, module='modules_of_a_user:linear')"
    assert TorchModule(f"{USER}:linear").models_per_block(1, 1) == 32
    assert not resolve(text.replace("epochs=5", "images=False"), {"torch": TorchModule}).images


def test_its_code_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    digests = set()
    for width in (3, 4):
        name = f"of_a_user_{width}"
        (tmp_path / f"{name}.py").write_text(f"def make(example, n_labels):\n    return {width}\n")
        learner = TorchModule(f"{name}:make")
        assert sys.modules[name] in classes_behind(learner)
        digests.add(code_digest(*classes_behind(learner)))
    assert len(digests) == 2
    branching = TorchModule(f"{USER}:Branching")
    assert sys.modules[USER].Branching in classes_behind(branching)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, r"learner torch: module='' is not allowed; wanted 'package.module:function'"),
        ({"module": "nowhere:make"}, "cannot be imported: No module named 'nowhere'; wanted"),
        ({"module": "make"}, "module='make' cannot be imported"),
        ({"module": f"{USER}:nothing"}, "cannot be imported: .*has no attribute 'nothing'"),
        ({"module": f"{USER}:NOT_CALLABLE"}, "is no class or function; wanted"),
        ({"module": "__main__:pytest"}, "cannot be imported|__main__"),
        ({"module": f"{USER}:linear", "epochs": 0}, "torch: epochs=0"),
        ({"module": f"{USER}:linear", "batch": 1.5}, "torch: batch=1.5"),
        ({"module": f"{USER}:linear", "rate": 0}, "torch: rate=0"),
        ({"module": f"{USER}:linear", "images": 1}, "torch: images=1 .* wanted True or False"),
        ({"module": f"{USER}:linear", "parameters": [1]}, r"torch: parameters=\[1\]"),
        ({"module": f"{USER}:linear", "parameters": {"a b": 1}}, "torch: parameters="),
    ],
)
def test_values_that_are_not_allowed(parameters, message):
    with pytest.raises(UsageError, match=message) as caught:
        TorchModule(**parameters)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_module", "gives str; wanted a torch.nn.Module"),
        ("nothing_to_train", "has no parameters to train"),
        ("wrong_shape", r"gives \(1, 4\) for one example; wanted logits \(1, 3\)"),
        ("failing", r"cannot be given an example of shape \(5,\): RuntimeError: one line"),
        ("one_argument", r"cannot be called with \(5,\), 3: TypeError: one_argument\(\) takes 1"),
    ],
)
def test_modules_that_are_none(name, message):
    x, y = data(2, 6, 5)
    with pytest.raises(UsageError, match=message) as caught:
        fit(name, x, y)
    assert "\n" not in str(caught.value)
    assert f"learner torch(module='{USER}:{name}')" in str(caught.value)


def test_images_are_asked_for():
    x, y = data(1, 4, 5)
    with pytest.raises(UsageError, match=r"needs images; an example has shape \(5,\)"):
        TorchModule(f"{USER}:linear").fit(x, y, 3, np.random.default_rng(0))
