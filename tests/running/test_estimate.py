"""What a plan will cost: from models that are timed, here on a clock that the test turns."""

import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

import harness
from harness.cli import estimates as shown
from harness.cli.estimates import about, print_estimates
from harness.cli.program import program
from harness.datasets.base import Dataset
from harness.defense import count_field, even_blocks
from harness.features.raw import Raw
from harness.running import estimate, trial
from harness.running.limit import TooLong, limited
from harness.running.trial import Line
from harness.threats import Threat


class Clock:
    now = 0.0
    trained: list[int] = []  # noqa: RUF012 - the fixture empties it


class SlowParameters(harness.Parameters):
    n_models: int = count_field(20)
    fixed: float = 0.1
    each: float = 0.05
    fails: bool = False


class Slow(harness.Defense[SlowParameters]):
    """A block of m models takes ``fixed + each * m`` seconds."""

    name, title, paper, Params = "slow", "slow", "none", SlowParameters

    def covers(self):
        return frozenset({Threat.ANY})

    def blocks(self, shape, lookup):
        return even_blocks(self.params.n_models, 8)

    def gather(self, task):
        if self.params.fails:
            raise ValueError("no models today")
        print("a defense may print")
        Clock.trained.append(len(task.models))
        Clock.now += self.params.fixed + self.params.each * len(task.models)
        return {"votes": np.zeros((task.shape.n_test, 2), np.int64)}

    def certify(self, evidence, threat, alpha):
        radii = np.zeros(len(evidence["votes"]), np.int64)
        return harness.PointwiseCertificate("none", threat, self.guarantee(alpha), radii, radii)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    Clock.now, Clock.trained = 0.0, []
    monkeypatch.setattr(trial, "time", SimpleNamespace(perf_counter=lambda: Clock.now))
    return Clock


def slow(**parameters):
    return Slow(SlowParameters(**parameters))


def estimates(*defenses, dataset, **options):
    return list(harness.plan(list(defenses), dataset=dataset, threats="any", **options).estimates())


def test_whole_blocks_are_drawn_out_from_a_few_models(tiny: Dataset):
    (one,) = estimates(slow(n_models=20), dataset=tiny)
    assert one.name == "slow"
    assert Clock.trained == [1, 2, 8], "more models while they take no time"
    assert one.seconds == pytest.approx(3 * 0.1 + 20 * 0.05)
    assert one.how == "timed on 8 models"
    assert 10 < one.megabytes < 100_000


def test_the_first_training_sets_libraries_up_and_does_not_count(
    tiny: Dataset, monkeypatch: pytest.MonkeyPatch
):
    class Cold(Slow):
        def gather(self, task):
            Clock.now += 0 if Clock.trained else 12
            return super().gather(task)

    (one,) = estimates(Cold(SlowParameters(fixed=0, each=3)), dataset=tiny)
    assert (Clock.trained, one.seconds) == ([1, 2], pytest.approx(60))


def test_of_slow_models_one_or_two_are_enough(tiny: Dataset):
    (one,) = estimates(slow(fixed=0, each=10), dataset=tiny)
    assert (Clock.trained, one.seconds) == ([1, 2], pytest.approx(200))
    Clock.trained = []
    (one,) = estimates(slow(fixed=0, each=40), dataset=tiny)
    assert (Clock.trained, one.seconds, one.how) == ([1], pytest.approx(800), "timed on 1 model")
    assert one.megabytes is None, "what of it follows the number of models is not known"


def test_what_another_cell_trains_costs_nothing(tiny: Dataset):
    whole, alpha, fewer, more = estimates(
        slow(n_models=20),
        dataset=tiny,
        alpha=[0.001, 0.01],
    ) + estimates(slow(n_models=16), slow(n_models=20), dataset=tiny)
    assert (alpha.seconds, alpha.megabytes) == (0.0, None)
    assert alpha.how == f"the models of {whole.name}"
    assert fewer.seconds == pytest.approx(0.2 + 16 * 0.05)
    assert more.seconds == pytest.approx(0.1 + 4 * 0.05), "two of its blocks are the other's"
    assert Clock.trained == [1, 2, 8] * 2, "what blocks take is asked once"


def test_what_was_trained_before_is_seen_and_recorded_costs_are_used(tiny: Dataset, store: Path):
    cell = "bagging[k=3,n_models=4,features=raw]"
    harness.run(cell, dataset=tiny, threats="any")
    files = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    (one,) = estimates(cell, dataset=tiny)
    assert (one.name, one.seconds, one.how) == (cell, 0.0, "trained before")
    (one,) = estimates(cell, dataset=tiny, fresh=True)
    assert one.seconds > 0
    assert one.how == "recorded when 4 models of it were trained here"
    assert one.megabytes > 10
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == files


def test_another_machine_s_costs_are_none_of_this_one(
    tiny: Dataset, monkeypatch: pytest.MonkeyPatch
):
    cell = "bagging[k=3,n_models=4,features=raw]"
    harness.run(cell, dataset=tiny, threats="any")
    monkeypatch.setattr(estimate, "fingerprint", lambda device: "another")
    assert estimates(cell, dataset=tiny, fresh=True)[-1].how == "timed on 4 models"


def test_a_finished_run_is_seen(tiny: Dataset, tmp_path: Path):
    cell, out = "bagging[k=3,n_models=4,features=raw]", tmp_path / "run"
    harness.run(cell, dataset=tiny, threats="any", output=out, store="off")
    (one,) = estimates(cell, dataset=tiny, output=out, store="off")
    assert one.how == "trained before"


def test_nothing_is_written(tiny: Dataset, store: Path, tmp_path: Path):
    estimates(slow(), dataset=tiny, output=tmp_path / "run")
    assert Clock.trained
    assert not (tmp_path / "run").exists()
    assert not store.exists()


def test_a_cell_whose_models_fail_is_unknown_and_the_others_are_not(tiny: Dataset):
    bad, good = estimates(slow(fails=True), slow(), dataset=tiny)
    assert (bad.seconds, bad.megabytes) == (None, None)
    assert bad.how == "unknown: its first models fail: ValueError: no models today"
    assert good.seconds == pytest.approx(1.3)


def test_a_cell_that_takes_too_long_is_given_up(tiny: Dataset, monkeypatch: pytest.MonkeyPatch):
    class Endless(Slow):
        def gather(self, task):
            while True:
                try:
                    time.sleep(0.01)
                except Exception:
                    continue

    monkeypatch.setattr(estimate, "LIMIT_S", 0.2)
    (one,) = estimates(Endless(SlowParameters()), dataset=tiny)
    assert (one.seconds, one.how) == (None, "unknown: its first models are not done after 0 s")


def test_a_limit_that_ends_later_leaves_what_is_known(
    tiny: Dataset, monkeypatch: pytest.MonkeyPatch
):
    class Sticking(Slow):
        def gather(self, task):
            if Clock.trained:
                time.sleep(60)
            return super().gather(task)

    monkeypatch.setattr(estimate, "LIMIT_S", 2.0)
    (one,) = estimates(Sticking(SlowParameters()), dataset=tiny)
    assert (one.seconds, one.how) == (pytest.approx(20 * 0.15), "timed on 1 model")


def test_the_only_model_of_a_block_is_trained_again_where_that_takes_no_time(tiny: Dataset):
    (quick,) = estimates(slow(n_models=1), dataset=tiny)
    assert (len(Clock.trained), quick.seconds) == (2, pytest.approx(0.15))
    Clock.trained = []
    (one,) = estimates(slow(n_models=1, each=20), dataset=tiny)
    assert (len(Clock.trained), one.seconds) == (1, pytest.approx(20.1))
    assert one.megabytes is not None


def test_a_limit_ends_with_what_it_limits():
    with limited(0.05):
        pass
    time.sleep(0.1)
    with pytest.raises(TooLong), limited(0.05):
        time.sleep(5)


def test_dear_features_are_timed_on_a_few_examples_and_not_kept(
    tiny: Dataset, store: Path, monkeypatch: pytest.MonkeyPatch
):
    compute = Raw.compute

    def dearly(self, x, chunk=None):
        Clock.now += 2 * len(x)
        return compute(self, x, chunk)

    monkeypatch.setattr(Raw, "dear", True)
    monkeypatch.setattr(Raw, "compute", dearly)
    features, cell = estimates("bagging[k=3,n_models=4,features=raw]", dataset=tiny)
    assert features.name == "features raw"
    assert features.seconds == pytest.approx(2 * (tiny.n_train + tiny.n_test))
    assert features.how.startswith("timed on 32 examples")
    assert cell.seconds is not None
    assert not store.exists()


def test_lines_through_points():
    assert Line.through([(2, 7.0), (4, 9.0)]) == Line(5.0, 1.0)
    assert Line.through([(1, 9.0), (2, 7.0)]) == Line(7.0, 0.0), "no time for more models"
    assert Line.through([(2, 1.0), (4, 9.0)]) == Line(0.0, 2.25), "nothing is below 0"
    assert Line.through([(4, 8.0)]) == Line(0.0, 2.0)


# What the command says


def test_a_dry_run_tells_each_cell_and_all_together(
    tiny_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shown, "print_estimates", print_estimates)
    cell = "bagging[k=3,n_models=4,features=raw]"
    arguments = ["run", "-d", cell, "--alpha", "0.01", "--alpha", "0.1", "--dry-run"]
    result = CliRunner().invoke(
        program, [*arguments, "--dataset", f"npz:{tiny_npz}", "--output", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, result.output
    head, features, first, second, together = result.stderr.splitlines()
    assert head.startswith("estimated for this machine")
    assert features == "features raw: under 1 s (made once for all cells)"
    assert first.startswith(f"{cell}: ")
    assert first.endswith("(timed on 4 models)")
    assert " GB " in first
    assert second == f"{cell}@alpha=0.1: nothing to train (the models of {cell})"
    assert together.startswith("together: ")
    assert not (tmp_path / "out").exists()


def test_times_are_told_roughly():
    assert about(99) == "~99 s"
    assert about(100) == "~2 min"
    assert about(6000) == "~1.7 h"
