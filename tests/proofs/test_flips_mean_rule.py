"""The radius of the label with the largest mean score, against flips that were all tried."""

from itertools import combinations, product

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from harness.certificates import ABSTAIN, PointwiseCertificate
from harness.datasets.base import checked
from harness.plugins.registry import Registry
from harness.proofs.flips import exact_radius, kl_radius, mean_rule_radius
from harness.testing.bench import make_bench
from harness.threats import Threat


def log_bound(a: np.ndarray, y: np.ndarray, q: float, c: int, winner: int) -> float:
    """The smallest logarithm over t of the union of Chernoff's bounds, by numerical search."""
    b = q / (c - 1)

    def exponent(t: float) -> float:
        total = []
        for rival in set(range(c)) - {winner}:
            terms = 0.0
            for weight, label in zip(a, y, strict=True):
                chances = {j: 1 - q if j == label else b for j in range(c)}
                up, down = chances[rival], chances[winner]
                terms += np.log(
                    up * np.exp(t * weight) + down * np.exp(-t * weight) + 1 - up - down
                )
            total.append(terms)
        return float(np.logaddexp.reduce(total))

    return min(minimize_scalar(exponent, bounds=(0, top), method="bounded").fun for top in (3, 60))


def can_turn(a: np.ndarray, y: np.ndarray, c: int, winner: int, r: int) -> bool:
    """Whether r changed labels can lift another label's sum to the winner's, by trying all."""
    for changed in combinations(range(len(y)), r):
        for labels in product(range(c), repeat=r):
            flipped = y.copy()
            flipped[list(changed)] = labels
            sums = np.array([a[flipped == j].sum() for j in range(c)])
            if np.delete(sums, winner).max() >= sums[winner] - 1e-12:
                return True
    return False


@pytest.mark.parametrize("c", [2, 3])
@pytest.mark.parametrize("q", [0.01, 0.1, 0.2])
def test_no_flips_within_the_radius_turn_the_mean_rule(c: int, q: float) -> None:
    rng = np.random.default_rng([c, int(1000 * q)])
    found = set()
    for trial in range(30):
        n = int(rng.integers(2, 10))
        a = rng.uniform(0.2 if trial % 3 else 0.9, 1, n) * rng.choice([1, 1, 1, 1, 1, -1], n)
        y = np.where(rng.random(n) < 0.8, 1, rng.integers(0, c, n))
        sums = np.array([a[y == j].sum() for j in range(c)])
        winner = int(sums.argmax())
        log_error = log_bound(a, y, q, c, winner)
        radius = int(mean_rule_radius(np.array([log_error]), q, c)[0])
        assert radius < 1 or not can_turn(a, y, c, winner, radius)
        found.add(radius)
    assert max(found) >= 1


@pytest.mark.parametrize(("q", "c"), [(0.4, 2), (0.1, 2), (0.01, 2), (0.5, 3), (0.6, 10)])
def test_it_costs_nothing_where_q_is_not_tiny_and_labels_are_few(q: float, c: int) -> None:
    log_error = -np.geomspace(1e-3, 300, 400)
    published = kl_radius(log_error, q, c)
    exact = exact_radius(log_error, q, 10_000, c)
    mean = mean_rule_radius(log_error, q, c)
    assert (mean >= published).all()
    assert (np.minimum(mean, 10_000) >= exact).all()


def test_edges() -> None:
    assert mean_rule_radius(np.array([0.0, np.nan, -np.inf]), 0.4).tolist() == [
        ABSTAIN,
        ABSTAIN,
        2**62,
    ]


def test_the_reported_label_stays_where_nearly_no_label_is_flipped(registry: Registry) -> None:
    """With a tiny q the smoothed vote of many equal weights keeps its label, its mean does not."""
    q, flips = 0.00075, 1010
    n, penalty = flips + 2, 1000.0
    x = np.r_[np.ones(flips), 0.0, 0.0].astype(np.float32)[:, None]
    y = np.r_[np.ones(flips, int), 0, 1]
    # All weights equal, so that the mean score is just below one half after so many flips.
    weight = 0.5 * (1 - 2e-6) / (flips * q)
    x_test = np.full((2, 1), weight * (penalty * n + 2 * flips) - 1, np.float32)
    clean = checked("d", x, y, x_test, np.array([0, 1]))
    turned = y.copy()
    turned[:flips] = 0
    selection = f"label-flip[q={q},penalty={penalty},features=raw]"
    before = make_bench(selection, clean, registry).certify(Threat.LABEL_FLIP)
    poisoned = checked("d", x, turned, x_test, np.array([0, 1]))
    after = make_bench(selection, poisoned, registry).certify(Threat.LABEL_FLIP)
    assert isinstance(before, PointwiseCertificate)
    assert isinstance(after, PointwiseCertificate)
    assert before.predictions[0] != after.predictions[0]
    assert 900 < before.radii[0] < flips
