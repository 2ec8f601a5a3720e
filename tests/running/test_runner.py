from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import Field

from harness import hookimpl
from harness.certificates import DETERMINISTIC, PointwiseCertificate
from harness.datasets.base import Dataset
from harness.defense import (
    Arrays,
    Defense,
    Evidence,
    Parameters,
    Task,
    certify_field,
    even_blocks,
)
from harness.errors import NoSpaceError, UsageError
from harness.plugins.registry import PluginManager, Registry
from harness.results.cells import CellResult, Plan
from harness.results.folder import RunFolder, open_run
from harness.running.plan import make_plan
from harness.running.runner import Runner
from harness.running.task import seeds
from harness.threats import Threat


class CoinParameters(Parameters):
    n_models: int = Field(10, ge=1)
    fail_at: int = -1
    stop_at: int = -1
    radius: int = certify_field(3)


class Coin(Defense[CoinParameters]):
    """Votes at random, in blocks of four; remembers what it trained."""

    name = "coin"
    title = paper = "coin"
    Params = CoinParameters
    trained: list[range]

    def covers(self) -> frozenset[Threat]:
        return frozenset({Threat.MODIFY})

    def blocks(self, shape: Any, lookup: Any) -> list[range]:
        return even_blocks(self.params.n_models, 4)

    def gather(self, task: Task) -> Arrays:
        assert not hasattr(task, "y_test")
        if self.params.fail_at in task.models:
            raise RuntimeError("the coin\nrolled away")
        if self.params.stop_at in task.models:
            raise KeyboardInterrupt
        Coin.trained.append(task.models)
        with task.phase("train"):
            ones = task.rng().integers(0, 2, (len(task.models), task.shape.n_test)).sum(0)
        return {"votes": np.stack([len(task.models) - ones, ones], axis=1)}

    def certify(self, evidence: Evidence, threat: Threat, alpha: float) -> PointwiseCertificate:
        votes = evidence["votes"]
        radii = np.full(len(votes), self.params.radius)
        return PointwiseCertificate("coin", threat, DETERMINISTIC, votes.argmax(1), radii)


class Silent:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.models = 0
        self.starts: list[tuple[str, int, int]] = []
        self.finished: list[tuple[str, str | None]] = []
        self.notes: list[str] = []

    def start(self, cell: str, total: int, done: int) -> None:
        self.starts.append((cell, total, done))

    def advance(self, models: int) -> None:
        self.models += models

    def finish(self, cell: str, seconds: float, error: str | None) -> None:
        self.finished.append((cell, error))

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def coins() -> Registry:
    Coin.trained = []
    manager = PluginManager()
    manager.load(installed=[])
    own = SimpleNamespace(harness_register_defenses=hookimpl(lambda: [Coin]))
    manager.register(own, "coin", "coin 1.0")
    return manager.registry()


def plan_of(coins: Registry, tiny: Dataset, *selections: str, **changes: Any) -> Plan:
    options: dict[str, Any] = {"threats": [Threat.MODIFY, Threat.ANY], "alpha": 0.01, "seed": 0}
    return make_plan(coins, selections, tiny, **(options | changes))


def run(
    coins: Registry, plan: Plan, path: Path, progress: Silent | None = None
) -> list[CellResult]:
    with open_run(path, plan.identity(), fresh=False) as folder:
        return runner(coins, plan, folder, progress).run()


def runner(coins: Registry, plan: Plan, folder: RunFolder, progress: Silent | None) -> Runner:
    return Runner(plan, folder, coins, torch.device("cpu"), progress or Silent())


def votes_in(path: Path) -> np.ndarray[Any, Any]:
    (file,) = (path / "evidence").glob("*.npz")
    with np.load(file) as archive:
        return np.asarray(archive["votes"])


def test_a_cell_is_trained_in_blocks_and_certified(
    coins: Registry, tiny: Dataset, tmp_path: Path
) -> None:
    progress = Silent()
    (result,) = run(coins, plan_of(coins, tiny, "coin"), tmp_path, progress)
    assert Coin.trained == [range(4), range(4, 8), range(8, 10)]
    assert (progress.starts, progress.models) == ([("coin", 10, 0)], 10)
    assert result.n_models == 10
    assert result.train_s > 0
    assert result.peak_rss_mb > 10
    covered, not_covered = result.proved
    assert covered.curve is not None
    assert covered.curve.max_radius == 3
    assert (not_covered.threat, not_covered.certificate) == (Threat.ANY, None)
    assert votes_in(tmp_path).sum(1).tolist() == [10] * tiny.n_test


def test_finished_evidence_is_not_trained_again(
    coins: Registry, tiny: Dataset, tmp_path: Path
) -> None:
    (first,) = run(coins, plan_of(coins, tiny, "coin"), tmp_path)
    Coin.trained.clear()
    progress = Silent()
    (second,) = run(coins, plan_of(coins, tiny, "coin", alpha=0.5), tmp_path, progress)
    assert Coin.trained == []
    assert progress.starts == [("coin", 10, 10)]
    assert second.train_s == first.train_s


def test_an_interrupted_cell_goes_on_where_it_stopped(
    coins: Registry, tiny: Dataset, tmp_path: Path
) -> None:
    plan = plan_of(coins, tiny, "coin")
    run(coins, plan, tmp_path / "whole")
    Coin.trained.clear()
    with open_run(tmp_path / "cut", plan.identity(), fresh=False) as folder:
        one = runner(coins, plan, folder, None)
        one._workshop._train(plan.cells[0], range(4, 8), 1)
        progress = Silent()
        runner(coins, plan, folder, progress).run()
    assert Coin.trained == [range(4, 8), range(4), range(8, 10)]
    assert progress.starts == [("coin", 10, 4)]
    assert np.array_equal(votes_in(tmp_path / "whole"), votes_in(tmp_path / "cut"))


def test_a_block_that_was_cut_differently_is_trained_again(
    coins: Registry, tiny: Dataset, tmp_path: Path
) -> None:
    plan = plan_of(coins, tiny, "coin")
    with open_run(tmp_path, plan.identity(), fresh=False) as folder:
        one = runner(coins, plan, folder, None)
        one._workshop._train(plan.cells[0], range(5), 0)
        Coin.trained.clear()
        one.run()
    assert Coin.trained == [range(4), range(4, 8), range(8, 10)]


def test_control_c_ends_the_run_and_keeps_the_blocks(
    coins: Registry, tiny: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(coins, plan_of(coins, tiny, "coin[stop_at=9]"), tmp_path)
    assert len(list(tmp_path.rglob("evidence/*/*.npz"))) == 2


def test_a_cell_that_fails_does_not_stop_the_others(
    coins: Registry, tiny: Dataset, tmp_path: Path
) -> None:
    bad, good = run(coins, plan_of(coins, tiny, "coin[fail_at=5]", "coin"), tmp_path)
    assert bad.error == "RuntimeError: the coin rolled away"
    assert good.error is None
    assert good.proved[0].curve is not None
    (log,) = (tmp_path / "failures").iterdir()
    assert "Traceback" in log.read_text()
    # The block before the failure is kept, the failed cell's evidence is not.
    assert len(list(tmp_path.rglob("evidence/*/*.npz"))) == 1
    assert len(list((tmp_path / "evidence").glob("*.npz"))) == 1


def test_a_full_disk_ends_the_run(
    coins: Registry, tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise NoSpaceError("no space left")

    monkeypatch.setattr("harness.results.store.Blocks.put", full)
    with pytest.raises(NoSpaceError):
        run(coins, plan_of(coins, tiny, "coin"), tmp_path)


def test_cells_that_differ_only_in_certifying_share_their_evidence(
    coins: Registry, tiny: Dataset, tmp_path: Path
) -> None:
    first, second = run(coins, plan_of(coins, tiny, "coin", "coin[radius=7]"), tmp_path)
    assert len(Coin.trained) == 3
    assert first.proved[0].curve is not None
    assert second.proved[0].curve is not None
    assert (first.proved[0].curve.max_radius, second.proved[0].curve.max_radius) == (3, 7)


def test_the_evidence_key_covers_what_training_reads(coins: Registry, tiny: Dataset) -> None:
    def key(selection: str, **changes: Any) -> str:
        return plan_of(coins, tiny, selection, **changes).cells[0].key

    assert key("coin") == key("coin[radius=9]") == key("coin", alpha=0.3, threats=[Threat.ANY])
    assert len({key("coin"), key("coin[n_models=9]"), key("coin", seed=1), key("bagging")}) == 4


def test_the_evidence_key_covers_the_code(
    coins: Registry, tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(coins, tiny, "coin", "bagging")
    monkeypatch.setattr("harness.running.keys.code_digest", lambda *roots: "edited")
    edited = plan_of(coins, tiny, "coin", "bagging")
    assert not {cell.key for cell in plan.cells} & {cell.key for cell in edited.cells}
    # It is the same run all the same, in the same folder.
    assert edited.identity() == plan.identity()
    assert edited.folder_name() == plan.folder_name()


def test_seeds_differ_by_seed_defense_and_block() -> None:
    words = {
        tuple(seeds(seed, name, block).generate_state(4))
        for seed in (0, 1)
        for name in ("bagging", "dp")
        for block in (0, 1)
    }
    assert len(words) == 8


def test_the_seed_changes_the_votes(coins: Registry, tiny: Dataset, tmp_path: Path) -> None:
    for seed in (0, 1):
        run(coins, plan_of(coins, tiny, "coin", seed=seed), tmp_path / str(seed))
    assert not np.array_equal(votes_in(tmp_path / "0"), votes_in(tmp_path / "1"))


@pytest.mark.parametrize(
    ("selections", "changes", "message"),
    [
        (["coin"], {"alpha": 0.0}, "alpha must be above 0 and below 1, found 0"),
        (["coin"], {"alpha": 1.0}, "alpha must be above 0 and below 1, found 1"),
        (["coin"], {"alpha": float("nan")}, "alpha must be above 0 and below 1, found nan"),
        (["coin"], {"seed": -1}, "the seed must be a whole number of at least 0, found -1"),
        (["coin", "coin[n_models=10]"], {}, "coin is selected twice"),
        (["coins"], {}, "unknown defense 'coins'; did you mean coin?"),
        (["bagging[k=0]"], {}, "bagging: k=0 is not allowed"),
        (["bagging[n_models=0]"], {}, "bagging: n_models=0 is not allowed"),
        (["bagging[features=pixels]"], {}, "unknown features 'pixels'"),
        (["bagging[learner=rigde]"], {}, "unknown learner 'rigde'; did you mean ridge?"),
    ],
)
def test_plans_that_cannot_work_are_refused(
    coins: Registry, tiny: Dataset, selections: list[str], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        plan_of(coins, tiny, *selections, **changes)
    assert message in str(caught.value)


def test_a_broken_plugin_becomes_a_cell_that_fails(tiny: Dataset, tmp_path: Path) -> None:
    manager = PluginManager()
    manager.load(installed=[])
    manager.register(
        SimpleNamespace(harness_register_defenses=hookimpl(lambda: [int])), "lost", "lost 1.0"
    )
    registry = manager.registry()
    plan = plan_of(registry, tiny, "lost", "bagging[n_models=5,k=3]")
    lost, bagging = run(registry, plan, tmp_path)
    assert lost.error is not None
    assert "plugin lost (lost 1.0): TypeError" in lost.error
    assert bagging.error is None
