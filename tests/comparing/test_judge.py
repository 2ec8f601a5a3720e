"""Verdicts on made-up runs: what is a regression, what is noise, what cannot be compared."""

import math

import pytest

from harness.comparing.change import IMPROVEMENT, NOISE, NOT_COMPARABLE, REGRESSION, SAME
from harness.comparing.judge import compare_runs
from harness.comparing.metrics import Rules
from harness.comparing.tables import verdict as told_verdict
from harness.errors import UsageError
from harness.results.reader import load_run

N = 400


def compared(base, new, *gates, wanted=()):
    return compare_runs(load_run(base), load_run(new), Rules.parse(gates), wanted)


def change(found, name, cell=0):
    changes = [c for _, c in found.cells[cell].changes() if c.name == name]
    assert len(changes) == 1
    return changes[0]


def lowered(n, by=30, start=60):
    """Radii of N examples, n of them lowered."""
    return [start - by] * n + [start] * (N - n)


@pytest.mark.parametrize(
    ("before", "after", "verdict", "code"),
    [
        (lowered(0), lowered(0), SAME, 0),
        (lowered(0), lowered(2), NOISE, 0),  # 0.5 pp is what is tolerated
        (lowered(0), lowered(4), NOISE, 0),  # 1 pp, but four of four is chance: p = 0.125
        (lowered(0), lowered(9), REGRESSION, 1),
        (lowered(9), lowered(0), IMPROVEMENT, 0),
        ([30] * 9 + [60] * (N - 9), [60] * (N - 9) + [30] * 9, NOISE, 0),
    ],
)
def test_certified_accuracy_is_judged_by_the_examples_that_changed(
    made_run, made_cell, before, after, verdict, code
):
    found = compared(
        made_run("base", made_cell("a", {"any": before})),
        made_run("new", made_cell("a", {"any": after})),
    )
    assert change(found, "certified_accuracy@50").verdict == verdict
    assert change(found, "certified_accuracy@10").verdict == SAME
    assert found.exit_code == code


def test_without_examples_the_tolerance_alone_decides(made_run, made_cell):
    base = made_run("base", made_cell("a", {"any": lowered(0)}), pointwise=False)
    new = made_run("new", made_cell("a", {"any": lowered(4)}))
    found = compared(base, new)
    assert change(found, "certified_accuracy@50").verdict == REGRESSION
    assert change(found, "certified_accuracy@50").paired is None
    assert compared(base, new, "certified_accuracy:-1pp").exit_code == 0


def test_a_gate_at_an_r_of_its_own(made_run, made_cell):
    base = made_run("base", made_cell("a", {"any": lowered(0, start=80)}))
    new = made_run("new", made_cell("a", {"any": lowered(9, by=10, start=80)}))
    assert compared(base, new).exit_code == 0
    found = compared(base, new, "certified_accuracy@75:-0.1pp")
    assert found.exit_code == 1
    assert "certified_accuracy@75" in found.regressions[0]
    assert compared(base, new, "none", "certified_accuracy@75:-3pp").exit_code == 0


def test_a_wrong_prediction_certifies_nothing(made_run, made_cell):
    base = made_run("base", made_cell("a", {"any": lowered(0)}))
    new = made_run("new", made_cell("a", {"any": lowered(0)}, predictions=[0] * 9 + [1] * (N - 9)))
    found = compared(base, new)
    assert change(found, "clean_accuracy").verdict == REGRESSION
    assert change(found, "certified_accuracy@0").verdict == REGRESSION


def test_a_cell_that_vanished_is_a_regression_and_a_new_one_is_named(made_run, made_cell):
    one, two = (made_cell(name, {"any": lowered(0)}, defense=name) for name in "ab")
    found = compared(made_run("base", one, two), made_run("new", one))
    assert found.exit_code == 1
    assert found.regressions == ["b: vanished: the new run has no such cell"]
    found = compared(made_run("less", one), made_run("more", one, two))
    assert found.exit_code == 0
    assert found.cells[1].verdict == "new"


def test_other_parameters_are_another_cell_but_are_shown_beside_it(made_run, made_cell):
    base = made_cell("a[k=20]", {"any": lowered(0, start=300)}, params={"k": 20})
    new = made_cell("a[k=50]", {"any": lowered(0, start=90)}, params={"k": 50})
    found = compared(made_run("base", base), made_run("new", new))
    assert found.exit_code == 1
    assert found.cells[0].pair.changed == {"k": (20, 50)}
    assert "k 20 -> 50" in found.regressions[0]
    assert change(found, "certified_accuracy@200").verdict == REGRESSION
    both = made_cell("a[k=5]", {"any": lowered(0)}, params={"k": 5})
    found = compared(made_run("one", base), made_run("two", new, both))
    assert found.exit_code == 4  # which of the two should stand for it?


def test_a_default_that_changed_is_the_same_cell(made_run, made_cell):
    base = made_cell("a", {"any": lowered(0)}, params={"k": 20})
    new = made_cell("a", {"any": lowered(0)}, params={"k": 50, "more": None})
    found = compared(made_run("base", base), made_run("new", new))
    assert found.exit_code == 0
    assert found.cells[0].pair.changed == {"k": (20, 50)}


def test_equal_parameters_are_paired_under_any_name(made_run, made_cell):
    base = made_cell("a", {"any": lowered(0)}, params={"k": 20})
    explicit = made_cell("a[k=20]", {"any": lowered(9)}, params={"k": 20})
    default = made_cell("a", {"any": lowered(0)}, params={"k": 50})
    found = compared(made_run("base", base), made_run("new", default, explicit))
    assert found.cells[0].pair.new["label"] == "a[k=20]"
    assert found.exit_code == 1


def test_only_what_is_wanted_is_compared(made_run, made_cell):
    one, two = (made_cell(name, {"any": lowered(0)}, defense=name) for name in "ab")
    base, new = made_run("base", one, two), made_run("new", one)
    assert compared(base, new, wanted=["a"]).exit_code == 0
    with pytest.raises(UsageError, match="unknown cell 'c'"):
        compared(base, new, wanted=["c"])


def test_other_data_cannot_be_compared(made_run, made_cell):
    cell = made_cell("a", {"any": lowered(0)})
    found = compared(made_run("base", cell), made_run("new", cell, digest="f" * 16))
    assert found.exit_code == 4
    assert "data differ" in found.reason


def test_another_alpha_or_threat_cannot_be_compared(made_run, made_cell):
    def cell(alpha, *threats):
        guarantee = f"probabilistic (alpha={alpha} per defense)"
        return made_cell("a", {t: lowered(0) for t in threats}, guarantee=guarantee)

    found = compared(made_run("a", cell(0.001, "any")), made_run("b", cell(0.01, "any")))
    assert found.exit_code == 4
    assert "guarantees differ" in found.reason
    found = compared(made_run("c", cell(0.001, "any")), made_run("d", cell(0.001, "modify")))
    assert found.exit_code == 4
    assert "not asked about any" in found.reason
    found = compared(
        made_run("e", cell(0.001, "any", "modify")), made_run("f", cell(0.001, "modify"))
    )
    assert found.exit_code == 0
    assert [t.verdict for t in found.cells[0].threats] == [NOT_COMPARABLE, ""]


def test_a_guarantee_that_weakens_is_a_regression(made_run, made_cell):
    def run(name, guarantee, radii):
        return made_run(name, made_cell("a", {"any": radii, "modify": radii}, guarantee=guarantee))

    proof = run("proof", "deterministic", lowered(0))
    sampled = run("sampled", "probabilistic (alpha=0.001 per defense)", lowered(0))
    found = compared(proof, sampled)
    assert found.exit_code == 1
    assert "weaker" in found.regressions[0]
    assert compared(sampled, proof).exit_code == 0
    lost = made_run("lost", made_cell("a", {"any": None, "modify": lowered(0)}))
    found = compared(proof, lost)
    assert found.exit_code == 1
    assert "not covered" in found.regressions[0]
    assert compared(lost, proof).exit_code == 0


def test_a_cell_that_fails_now_is_a_regression(made_run, made_cell):
    fine, other = (made_cell(name, {"any": lowered(0)}, defense=name) for name in "ab")
    broken = made_cell("a", {}, defense="a", error="ValueError: no")
    base = made_run("base", fine, other)
    found = compared(base, made_run("new", broken, other))
    assert found.exit_code == 1
    assert found.regressions == ["a: fails now: ValueError: no"]
    found = compared(made_run("was", broken, other), base)
    assert found.exit_code == 0
    assert found.cells[0].verdict == NOT_COMPARABLE


def costly(made_cell, train, **more):
    seconds = {"train": train, "predict": 0.0, "certify": 0.0}
    return made_cell("a", {"any": lowered(0)}, seconds=seconds, **more)


@pytest.mark.parametrize(
    ("base", "new", "verdict"),
    [(2.0, 2.0, SAME), (2.0, 2.9, NOISE), (2.0, 3.1, REGRESSION), (3.1, 2.0, NOISE),
     (4.0, 1.0, IMPROVEMENT), (0.0, 0.05, NOISE), (0.0, 1.0, REGRESSION)],
)  # fmt: skip
def test_seconds_are_judged_always_and_gate_when_asked(made_run, made_cell, base, new, verdict):
    runs = made_run("base", costly(made_cell, base)), made_run("new", costly(made_cell, new))
    found = compared(*runs)
    assert change(found, "train_s").verdict == verdict
    assert found.exit_code == 0
    assert ("worse without a gate" in told_verdict(found)) == (verdict == REGRESSION)
    gated = compared(*runs, "train_s:+50%")
    assert gated.exit_code == (1 if verdict == REGRESSION else 0)


def test_seconds_of_another_machine_are_multiples_of_its_calibration(made_run, made_cell):
    base = made_run("base", costly(made_cell, 2.0))
    slower = costly(made_cell, 6.2, machine="there", calibration_s=0.03)
    found = compared(base, made_run("new", slower), "train_s:+10%")
    assert found.exit_code == 0
    assert change(found, "train_s").expected == pytest.approx(6.0)
    assert change(found, "peak_rss_mb").verdict == NOT_COMPARABLE
    worse = costly(made_cell, 7.0, machine="there", calibration_s=0.03)
    assert compared(base, made_run("worse", worse), "train_s:+10%").exit_code == 1


@pytest.mark.parametrize("machine", ["there", None])
def test_without_calibration_another_machine_does_not_gate(made_run, made_cell, machine):
    base = made_run("base", costly(made_cell, 2.0, machine=machine and "here"))
    new = made_run("new", costly(made_cell, 99.0, machine=machine, calibration_s=None))
    found = compared(base, new, "train_s:+10%")
    assert found.exit_code == 0
    assert change(found, "train_s").verdict == NOT_COMPARABLE
    assert math.isnan(change(found, "train_s").expected)


def test_differences_that_explain_others_are_noted(made_run, made_cell):
    cell = made_cell("a", {"any": lowered(0)})
    found = compared(made_run("base", cell), made_run("new", cell, seed=3))
    assert found.notes == ["seeds differ: 0 and 3"]


def test_a_cell_of_which_nothing_can_be_compared_is_no_silent_pass(made_run, made_cell):
    def sampled(alpha, radii):
        guarantee = f"probabilistic (alpha={alpha} per defense)"
        return made_cell("a", {"any": radii}, defense="a", guarantee=guarantee)

    fine = made_cell("b", {"any": lowered(0)}, defense="b")
    base = made_run("base", sampled(0.001, lowered(0)), fine)
    found = compared(base, made_run("new", sampled(0.01, [0] * N), fine))
    assert found.incomparable == ["a"]
    assert found.exit_code == 4
    other = made_cell("b", {"any": [1] * N}, defense="b")
    assert compared(base, made_run("worse", sampled(0.01, [0] * N), other)).exit_code == 1
    failed = made_cell("a", {}, defense="a", error="no")
    assert compared(made_run("only", sampled(0.1, [5] * N)), made_run("f", failed)).exit_code == 1


def test_the_median_is_tested_where_it_is_decided(made_run, made_cell):
    """210 examples fall below a half's worth, 190 rise a little: as many better as worse."""
    base = made_run("base", made_cell("a", {"any": [190] * N}))
    new = made_run("new", made_cell("a", {"any": [199] * 190 + [101] * 210}))
    found = compared(base, new, "none", "median_radius:-5%")
    assert change(found, "median_radius").verdict == REGRESSION
    assert found.exit_code == 1


def test_a_number_that_is_not_known_any_more_is_a_regression(made_run, made_cell):
    base = made_run("base", made_cell("a", {"any": lowered(0)}))
    new = made_run("new", made_cell("a", {"any": lowered(0)}))
    summary = (new / "summary.csv").read_text().replace(",1.0,0.0,60,", ",,0.0,60,")
    (new / "summary.csv").write_text(summary)
    found = compared(base, new)
    assert "not known any more" in found.regressions[0]
    assert found.exit_code == 1


def test_too_few_examples_leave_it_to_the_tolerance(made_run, made_cell):
    base = made_run("base", made_cell("a", {"any": [60] * 5}))
    assert compared(base, made_run("new", made_cell("a", {"any": [0] * 5}))).exit_code == 1


def test_equal_parameters_are_paired_with_their_own_name_first(made_run, made_cell):
    one, two = (made_cell(f"{x}/a", {"any": lowered(n)}) for x, n in (("A", 0), ("B", 50)))
    found = compared(made_run("base", one, two), made_run("new", two, one))
    assert found.exit_code == 0
    assert [cell.pair.new["label"] for cell in found.cells] == ["A/a", "B/a"]


def test_a_name_that_another_defense_took_is_another_cell(made_run, made_cell):
    one, two = (made_cell("a", {"any": lowered(0)}, defense=name) for name in "ab")
    assert compared(made_run("base", one), made_run("new", two)).exit_code == 4


def test_data_without_a_digest_are_not_the_same_data(made_run, made_cell):
    runs = [made_run(name, made_cell("a", {"any": [5] * 9}), digest=None) for name in "ab"]
    assert compared(*runs).exit_code == 4


def test_an_estimate_and_a_proof_are_not_compared_in_numbers(made_run, made_cell):
    estimate = made_run("base", made_cell("a", {"any": lowered(0)}, guarantee="estimate"))
    proof = made_run("new", made_cell("a", {"any": lowered(90)}))
    assert compared(estimate, proof).exit_code == 0
    assert compared(proof, estimate).exit_code == 1


def test_an_example_and_the_average_are_not_compared(made_run, made_cell):
    def cell(kind, guarantee="deterministic"):
        return made_cell("a", {"any": lowered(0)}, guarantee=guarantee, kind=kind)

    examples = made_run("examples", cell("pointwise"))
    average = made_run("average", cell("expected-accuracy"))
    lost = made_run("lost", made_cell("a", {"any": None}))
    for base, new in ((examples, average), (average, examples)):
        found = compared(base, new)
        assert found.exit_code == 4, "nothing passes that was not compared"
        assert "its certificate is about something else" in found.reason
        assert not list(found.cells[0].threats[0].changes)
    sampled = made_run(
        "sampled", cell("expected-accuracy", "probabilistic (alpha=0.1 per defense)")
    )
    assert compared(examples, sampled).exit_code == 4, "weaker or stronger: not of the same"
    assert compared(average, average).exit_code == 0
    assert compared(average, sampled).exit_code == 1
    assert compared(average, lost).exit_code == 1


def test_what_was_not_measured_is_not_known(made_run, made_cell):
    cell = made_cell("a", {"any": lowered(0)}, params={"limit": math.inf, "nothing": math.nan})
    cell.seconds, cell.peak_rss_mb = {"train": 1.0, "predict": None}, None
    found = compared(made_run("base", cell), made_run("new", cell))
    assert found.exit_code == 0
    assert found.cells[0].pair.changed == {}
    assert change(found, "total_s").verdict == NOT_COMPARABLE
    assert change(found, "train_s").verdict == SAME


def test_blocks_of_two_machines_are_of_no_kind(made_run, made_cell):
    both = costly(made_cell, 9.0, machine=None, calibration_s=0.1)
    found = compared(
        made_run("base", costly(made_cell, 2.0)), made_run("new", both), "train_s:+50%"
    )
    assert "another machine" in change(found, "train_s").note


def test_seeds_are_paired_with_seeds(made_run, made_cell):
    def run(name, *radii):
        cells = [
            made_cell(label, {"any": found}, params={"k": 1}, more={"seed": s, "group": "a"})
            for s, (label, found) in enumerate(zip(("a", "a@seed=1"), radii, strict=True))
        ]
        return made_run(name, *cells, made_cell("b", {"any": lowered(0)}))

    base, new = run("base", lowered(0), lowered(9)), run("new", lowered(0), lowered(40))
    found = compared(base, new, wanted=["a"])
    assert [(cell.label, cell.pair.new["label"]) for cell in found.cells] == [
        ("a", "a"), ("a@seed=1", "a@seed=1"),
    ]  # fmt: skip
    assert change(found, "certified_accuracy@50", 0).verdict == SAME
    assert change(found, "certified_accuracy@50", 1).verdict == REGRESSION
    assert all(line.startswith("a@seed=1 under any") for line in found.regressions)
