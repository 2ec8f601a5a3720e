"""Two engines, and a third implementation of the same mathematics to judge both."""

import numpy as np
import pytest
import torch
from opacus import PrivacyEngine
from opacus.optimizers import DPOptimizer
from torch import nn
from torch.nn import functional

from harness.defenses.dp import batched, opacus_engine
from harness.defenses.dp.accounting import noise_multiplier
from harness.defenses.dp.mechanism import Mechanism, Step, draw_steps, outputs_for

N, D, MODELS = 60, 5, 3


def examples(n_labels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = 2 * torch.randn(N, D, generator=generator)
    return x, torch.randint(0, n_labels, (N,), generator=generator)


def mechanism(**changes):
    # Norms are about 4, so a clip of 1 scales most gradients; the public n is not the real one.
    values = {
        "noise_multiplier": 1.5,
        "clip": 1.0,
        "sample_rate": 1.0,
        "steps": 6,
        "learning_rate": 4.0,
        "n_public": 50,
    }
    return Mechanism(**(values | changes))


def drawn(mech, n_labels, seed=0, models=MODELS):
    rng = np.random.default_rng(seed)
    return list(draw_steps(mech, rng, N, D, models, outputs_for(n_labels)))


class ReplayOptimizer(DPOptimizer):
    """Adds given noise instead of drawing it."""

    def __init__(self, optimizer, *, noise, **kwargs):
        super().__init__(optimizer, **kwargs)
        self.noise = iter(noise)

    def add_noise(self):
        (weight,) = self.params
        std = self.noise_multiplier * self.max_grad_norm
        weight.grad = weight.summed_grad + std * next(self.noise)


class ReplayEngine(PrivacyEngine):
    """A PrivacyEngine whose optimizer adds given noise."""

    def __init__(self, noise):
        super().__init__()
        self.noise = noise

    def _prepare_optimizer(
        self, *, optimizer, noise_multiplier, max_grad_norm, expected_batch_size, **_
    ):
        return ReplayOptimizer(
            optimizer,
            noise=self.noise,
            noise_multiplier=noise_multiplier,
            max_grad_norm=max_grad_norm,
            expected_batch_size=expected_batch_size,
        )


@pytest.fixture
def replay():
    def engine(steps, model):
        with pytest.warns(UserWarning, match="Secure RNG turned off"):
            return ReplayEngine([step.noise[:, model].T for step in steps])

    return engine


def by_opacus(x, y, n_labels, mech, steps, replay):
    weights = []
    for model in range(MODELS):
        masks = [torch.ones(N, dtype=bool) if s.mask is None else s.mask[:, model] for s in steps]
        module = opacus_engine.train(
            x,
            y,
            opacus_engine.linear(D, n_labels),
            mech,
            np.random.default_rng(0),
            engine=replay(steps, model),
            batches=[mask.nonzero()[:, 0].tolist() for mask in masks],
        )
        weights.append(module.weight.detach().T)
    return torch.stack(weights, dim=1)


def by_hand(x, y, n_labels, mech, steps):
    """One example, one model after another, by autograd in float64."""
    x = x.double()
    trained = []
    for model in range(MODELS):
        w = torch.zeros(D, outputs_for(n_labels), dtype=torch.float64)
        for step in steps:
            total = mech.noise_multiplier * mech.clip * step.noise[:, model].double()
            for i in range(N):
                if step.mask is not None and not step.mask[i, model]:
                    continue
                leaf = w.clone().requires_grad_()
                score = x[i] @ leaf
                if n_labels == 2:
                    loss = functional.softplus(score[0]) - y[i] * score[0]
                else:
                    loss = score.logsumexp(0) - score[y[i]]
                (gradient,) = torch.autograd.grad(loss, leaf)
                total = total + gradient * min(1.0, mech.clip / (float(gradient.norm()) + 1e-6))
            w = w - mech.learning_rate * total / (mech.n_public * mech.sample_rate)
        trained.append(w)
    return torch.stack(trained, dim=1)


CASES = [(2, 1.0), (2, 0.4), (3, 1.0), (3, 0.4), (2, 0.004), (3, 0.004)]


@pytest.mark.parametrize(("n_labels", "rate"), CASES)
def test_both_engines_and_plain_autograd_find_the_same_weights(n_labels, rate, replay):
    x, y = examples(n_labels)
    mech = mechanism(sample_rate=rate, n_public=50 if rate > 0.1 else 5000)
    steps = drawn(mech, n_labels)
    ours = batched.train(x, y, mech, steps, never_clipped=False)
    assert ours.shape == (D, MODELS, outputs_for(n_labels))
    theirs = by_opacus(x, y, n_labels, mech, steps, replay)
    exact = by_hand(x, y, n_labels, mech, steps)
    scale = exact.abs().max()
    assert scale > 0.1
    assert (ours - theirs).abs().max() <= 1e-5 * max(1, scale)
    assert (ours - exact).abs().max() <= 1e-5 * max(1, scale)


@pytest.mark.parametrize(("n_labels", "longest"), [(2, 1.05), (3, 0.95), (3, 0.75)])
def test_gradients_are_clipped_even_if_the_longest_is_hardly_too_long(n_labels, longest):
    x, y = examples(n_labels)
    x *= longest / x.norm(dim=1, keepdim=True)
    mech = mechanism(learning_rate=400.0)
    steps = drawn(mech, n_labels)
    exact = by_hand(x, y, n_labels, mech, steps)
    ours = batched.train(x, y, mech, steps, never_clipped=False)
    assert (ours - exact).abs().max() <= 1e-5 * exact.abs().max()


def test_the_rare_batches_above_include_empty_ones():
    masks = [step.mask for step in drawn(mechanism(sample_rate=0.004), 2)]
    sizes = torch.stack([mask.sum(0) for mask in masks])
    assert batched.GATHER_BELOW > 0.004
    assert sizes.min() == 0
    assert sizes.max() > 0


@pytest.mark.parametrize("n_labels", [2, 3])
def test_gathered_and_masked_sums_agree_and_chunks_do_not_matter(n_labels, monkeypatch):
    x, y = examples(n_labels)
    mech = mechanism(sample_rate=0.3)
    steps = drawn(mech, n_labels)
    masked = batched.train(x, y, mech, steps, never_clipped=False)
    monkeypatch.setattr(batched, "GATHER_BELOW", 1.0)
    gathered = batched.train(x, y, mech, steps, never_clipped=False)
    torch.testing.assert_close(gathered, masked, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(batched, "_GATHERED_AT_ONCE", 1)
    torch.testing.assert_close(
        batched.train(x, y, mech, steps, never_clipped=False), masked, rtol=1e-4, atol=1e-5
    )
    monkeypatch.setattr(batched, "GATHER_BELOW", 0.0)
    monkeypatch.setattr(batched, "_SCORES_AT_ONCE", 1)
    torch.testing.assert_close(
        batched.train(x, y, mech, steps, never_clipped=False), masked, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("rate", [0.003, 0.3])
def test_a_model_sees_its_own_sample_and_its_own_noise_only(rate):
    x, y = examples(2)
    mech = mechanism(sample_rate=rate, n_public=5000, steps=20)
    steps = drawn(mech, 2)
    before = batched.train(x, y, mech, steps, never_clipped=False)
    seen = torch.stack([step.mask[:, 1] for step in steps]).any(0)
    changed_x, changed_y = x.clone(), y.clone()
    changed_x[~seen] = 3.0
    changed_y[~seen] = 1 - y[~seen]
    if rate > 0.1:
        assert seen.all()
    changed = [Step(s.mask.clone(), s.noise.clone()) for s in steps]
    for step in changed:
        step.mask[:, [0, 2]] = ~step.mask[:, [0, 2]]
        step.noise[:, [0, 2]] += 1
    after = batched.train(changed_x, changed_y, mech, changed, never_clipped=False)
    torch.testing.assert_close(after[:, 1], before[:, 1], rtol=1e-4, atol=1e-6)
    assert not torch.allclose(after[:, 0], before[:, 0], atol=1e-3)


def test_the_noise_that_the_batched_engine_adds_has_the_stated_deviation():
    mech = mechanism(noise_multiplier=3.0, clip=0.5, steps=1, learning_rate=2.0)
    zeros = torch.zeros(N, D)
    steps = drawn(mech, 2, models=4000)
    weights = batched.train(
        zeros, torch.zeros(N, dtype=torch.int64), mech, steps, never_clipped=False
    )
    check_deviation(weights, 2.0 * 3.0 * 0.5 / 50)


@pytest.mark.parametrize("rate", [1.0, 0.3])
def test_the_noise_that_opacus_adds_has_the_stated_deviation(rate):
    mech = mechanism(noise_multiplier=3.0, clip=0.5, steps=1, learning_rate=2.0, sample_rate=rate)
    zeros = torch.zeros(N, 20_000)
    module = opacus_engine.train(
        zeros,
        torch.zeros(N, dtype=torch.int64),
        opacus_engine.linear(20_000, 2),
        mech,
        np.random.default_rng(5),
    )
    check_deviation(module.weight.detach(), 2.0 * 3.0 * 0.5 / (50 * rate))


def check_deviation(weights, expected):
    values = weights.double().flatten().numpy()
    assert abs(values.mean()) < 5 * expected / np.sqrt(values.size)
    assert abs(values.var() / expected**2 - 1) < 5 * np.sqrt(2 / values.size)


class Recorder(nn.Linear):
    """Remembers the sizes of the batches it was given."""

    def __init__(self):
        super().__init__(D, 1, bias=False)
        self.sizes = []

    def forward(self, x):
        self.sizes.append(len(x))
        return super().forward(x)


def test_opacus_samples_at_the_exact_rate_and_accounts_for_it():
    x, y = (part.repeat(20, *[1] * (part.ndim - 1)) for part in examples(2))
    rate, steps = 0.3, 60
    sigma = noise_multiplier(2.0, 1e-5, rate, steps, "rdp")
    with pytest.warns(UserWarning, match="Secure RNG turned off"):
        engine = PrivacyEngine(accountant="rdp")
    mech = mechanism(noise_multiplier=sigma, sample_rate=rate, steps=steps)
    recorder = Recorder()
    opacus_engine.train(x, y, lambda _: recorder, mech, np.random.default_rng(0), engine=engine)
    sizes = np.array(recorder.sizes)
    assert len(sizes) == steps
    expected, deviation = len(x) * rate, np.sqrt(len(x) * rate * (1 - rate))
    assert abs(sizes.mean() - expected) < 5 * deviation / np.sqrt(steps)
    assert 0.6 * deviation < sizes.std() < 1.5 * deviation
    assert engine.accountant.history == [(sigma, rate, steps)]
    assert engine.get_epsilon(1e-5) <= 2.0


def test_parts_of_a_batch_add_up(replay, monkeypatch):
    x, y = examples(3)
    mech = mechanism()
    steps = drawn(mech, 3)
    whole = by_opacus(x, y, 3, mech, steps, replay)
    monkeypatch.setattr(opacus_engine, "_EXAMPLES_AT_ONCE", 7)
    torch.testing.assert_close(by_opacus(x, y, 3, mech, steps, replay), whole, rtol=1e-4, atol=1e-5)


def test_any_module_can_be_trained_and_nothing_global_is_drawn():
    generator = torch.Generator().manual_seed(3)
    y = torch.randint(0, 2, (200,), generator=generator)
    images = torch.randn(200, 1, 6, 6, generator=generator) + 2 * y[:, None, None, None]

    def small_network(generator):
        module = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)
        )
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.2, generator=generator)
        return module

    mech = mechanism(
        noise_multiplier=0.5, sample_rate=0.5, steps=40, learning_rate=0.5, n_public=200
    )
    modules = [
        opacus_engine.train(images, y, small_network, mech, np.random.default_rng(seed))
        for seed in (0, 0, 1)
    ]
    predicted = [opacus_engine.predict(module, images) for module in modules]
    assert (predicted[0] == y).float().mean() > 0.85
    weights = [nn.utils.parameters_to_vector(module.parameters()) for module in modules]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_linear_learner_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    x, y = examples(2)
    opacus_engine.train(x, y, opacus_engine.linear(D, 2), mechanism(), np.random.default_rng(0))
    batched.train(x, y, mechanism(), drawn(mechanism(), 2), never_clipped=False)
    assert torch.equal(torch.get_rng_state(), before)


def test_predictions_give_ties_to_the_smaller_label():
    assert batched.predictions(torch.tensor([[-1.0], [0.0], [1.0]])).tolist() == [0, 0, 1]
    scores = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 2.0]])
    assert batched.predictions(scores).tolist() == [0, 1, 2]


@pytest.mark.parametrize("n_labels", [2, 3])
def test_votes_count_every_model_once(n_labels, monkeypatch):
    x, _ = examples(n_labels)
    generator = torch.Generator().manual_seed(4)
    weights = torch.randn(D, 9, outputs_for(n_labels), generator=generator)
    votes = batched.count_votes(x, weights, n_labels)
    expected = np.zeros((N, n_labels), dtype=np.int64)
    for model in range(9):
        scores = (x @ weights[:, model]).numpy()
        labels = scores.argmax(1) if n_labels > 2 else (scores[:, 0] > 0).astype(int)
        expected[np.arange(N), labels] += 1
    assert np.array_equal(votes, expected)
    monkeypatch.setattr(batched, "_SCORES_AT_ONCE", 1)
    assert np.array_equal(batched.count_votes(x, weights, n_labels), expected)
