"""Bagging from votes to files for n up to 10^9; nearest neighbours among thousands of examples."""

from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.cli.program import program
from harness.defenses.bagged_nearest import exact_bounds, label_probabilities, rank_probabilities
from harness.defenses.bagging import certified_poisoning_size
from harness.foreign.case import choose, settle
from harness.foreign.certify import certificates_csv, certify
from harness.foreign.votes import ForeignEvidence
from harness.learners.nearest import NearestNeighbour
from harness.plugins.registry import Registry
from harness.results.cells import CellResult
from harness.results.writer import _curve_rows
from harness.threats import Threat

THREATS = [Threat.ANY, Threat.MODIFY, Threat.INSERT, Threat.DELETE, Threat.LABEL_FLIP]

size = st.one_of(st.integers(1, 40), st.integers(1, 10**9), st.just(10**9))


@st.composite
def votes_with_one_more(draw: st.DrawFn) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(e, c) votes of up to 10^6 models, and the same with one more for the voted label."""
    trials, c = draw(st.integers(1, 10**6)), draw(st.integers(2, 6))
    rows = []
    for _ in range(draw(st.integers(1, 6))):
        cuts = st.one_of(st.integers(0, trials), st.sampled_from([0, trials // 2, trials]))
        ends = sorted(draw(st.lists(cuts, min_size=c - 1, max_size=c - 1)))
        rows.append(np.diff([0, *ends, trials]))
    votes = np.array(rows)
    more, row = votes.copy(), np.arange(len(votes))
    top = votes.argmax(axis=1)
    rivals = votes.copy()
    rivals[row, top] = -1
    second = rivals.argmax(axis=1)
    one = (votes[row, second] > 0).astype(np.int64)
    more[row, top] += one
    more[row, second] -= one
    return votes, more


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    votes_with_one_more(),
    size,
    size,
    st.floats(-190, -0.31),
    st.floats(0, 10),
    st.sampled_from(["paper", "per-example"]),
)
@example((np.array([[1000, 0]]),) * 2, 10**9, 1, -3.0, 1.0, "paper")
@example((np.array([[10**6, 0]]),) * 2, 10**9, 10**9, -3.0, 1.0, "paper")
def test_certify_any_votes(
    registry: Registry,
    drawn: tuple[NDArray[np.int64], NDArray[np.int64]],
    n: int,
    k: int,
    log_alpha: float,
    larger: float,
    split: str,
) -> None:
    """From votes to the files' text: no NaN, no overflow, no warning; radii and curves in order."""
    k = min(k, n)
    choice = choose(registry, "bagging", [f"k={k}", f"split={split}"])
    votes, more = drawn
    labels = more.argmax(axis=1)
    labels[0] = 0

    def certified(counts: NDArray[np.int64], alpha: float) -> Any:
        found = ForeignEvidence({"votes": counts}, labels, len(counts))
        return certify(
            settle(choice, found, Path("v.npz"), n_train=n, n_labels=None), THREATS, alpha
        )

    alpha = 10.0**log_alpha
    result = certified(votes, alpha)
    with_vote, with_alpha = certified(more, alpha), certified(votes, min(alpha * 10**larger, 0.49))
    for one, *others in zip(result.proved, with_vote.proved, with_alpha.proved, strict=True):
        radii, curve = one.certificate.radii, one.curve
        assert ((radii >= -1) & (radii < n)).all()
        assert all((radii <= other.certificate.radii).all() for other in others)
        assert len(curve.r) <= max(10_000, len(votes) + 1)
        assert np.isfinite(curve.certified_accuracy).all()
        right = radii[one.certificate.predictions == labels]
        for r in {0, *right.clip(0).tolist(), *(right + 1).tolist()}:
            assert curve.at(r) == pytest.approx(np.count_nonzero(right >= r) / len(votes))
    curves = list(_curve_rows([CellResult(result.case.cell, result.proved)]))
    text = (certificates_csv(result.proved) + str(curves)).lower()
    assert "nan" not in text and "inf" not in text


def test_a_billion_training_examples_on_the_command_line(tmp_path: Path) -> None:
    votes, output = tmp_path / "votes.npz", tmp_path / "out"
    np.savez(votes, votes=[[1000, 0, 0], [900, 60, 40], [500, 300, 200]], labels=[0, 0, 0])
    arguments = ["--votes", votes, "--n-train", 10**9, "--set", "k=1", "--threat", "modify"]
    command = ["certify", "bagging", *arguments, "--output", output]
    result = CliRunner().invoke(program, [str(a) for a in command])
    assert result.exit_code == 0, result.output
    rows = (output / "certificates.csv").read_text().splitlines()[1:]
    radii = [int(row.split(",")[2]) for row in rows]
    # k = 1 withstands r < n (p_l - p_s) / 2.
    assert 4.8 * 10**8 < radii[0] < 5 * 10**8 and 3.5 * 10**8 < radii[1] < 4.2 * 10**8
    listed = (output / "curves.csv").read_text().splitlines()[1:]
    assert [int(row.rsplit(",", 2)[1]) for row in listed] == [0, *(r + 1 for r in sorted(radii))]
    assert f"{radii[0]:,}" in result.output


def test_probabilities_of_a_million_ranks_add_up() -> None:
    for k in (1, 10**4, 10**9):
        chance = rank_probabilities(10**6, k)
        assert np.isfinite(chance).all() and (chance >= 0).all()
        assert (np.diff(chance) <= chance[:-1] * 1e-12).all(), "the nearer, the more probable"
        assert chance.sum() == pytest.approx(1, abs=1e-9)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 2500)), min_size=1, max_size=12),
    st.data(),
)
@example([(0, 60), (1, 9_940)], None)
@example([(1, 1), (0, 19_999)], None)
def test_nearest_neighbours_of_thousands(
    runs: list[tuple[int, int]], data: st.DataObject | None
) -> None:
    """Runs of one label by distance: their probabilities are differences of two powers."""
    labels = np.repeat([label for label, _ in runs], [length for _, length in runs])
    n = len(labels)
    k = n if data is None else data.draw(st.one_of(st.integers(1, 40), st.integers(1, n)))
    x, y = torch.arange(n, dtype=torch.float64)[:, None], torch.from_numpy(labels)
    tests = torch.zeros((1, 1), dtype=torch.float64)
    found = label_probabilities(NearestNeighbour(step=1), x, y, tests, 4, k)
    bounds = exact_bounds(found, n)
    with mpmath.workdps(60):
        true, nearer = [mpmath.mpf(0)] * 4, 0
        for label, length in runs:
            reached = (mpmath.mpf(n - nearer) / n) ** k
            nearer += length
            true[label] += reached - (mpmath.mpf(n - nearer) / n) ** k
        near = 1e-11 + 1e-15 * n
        top = int(bounds.prediction[0])
        assert true[top] >= max(true) * (1 - near)
        rivals = max(p for label, p in enumerate(true) if label != top)
        assert true[top] * (1 - near) - 4e-16 <= bounds.p_lower[0] <= true[top]
        assert rivals <= bounds.p_upper[0] <= rivals * (1 + 2 * near) + 1e-280
    radii = {
        t: certified_poisoning_size(bounds.p_lower, bounds.p_upper, n, k, t)[0] for t in THREATS
    }
    assert all(-1 <= r < n and radii[Threat.ANY] <= r for r in radii.values())
