"""Tolerances: how they are typed, what they tolerate, which of several counts."""

import pytest

from harness.comparing.metrics import COSTS, METRICS, Rules, parse_rule
from harness.errors import UsageError
from harness.proofs.curves import SUMMARY_R


@pytest.mark.parametrize(
    ("text", "base", "worst"),
    [
        ("certified_accuracy@50:-0.5pp", 0.9, 0.895),
        ("certified_accuracy:-1%", 0.9, 0.891),
        ("clean_accuracy:-0.01", 0.9, 0.89),
        ("abstained:+2pp", 0.1, 0.12),
        ("median_radius:-10%", 200, 180),
        ("median_radius:-10%", 6, 5),  # a whole example is always tolerated of a ratio
        ("median_radius:-5", 200, 195),
        ("max_radius:-0", 7, 7),
        ("train_s:+50%", 2.0, 3.0),
        ("train_s:+50%", 0.0, 0.1),  # no ratio to nothing: a tenth of a second is noise
        ("train_s:+2s", 1.0, 3.0),
        ("total_s:+.5", 1.0, 1.5),
        ("peak_rss_mb:+20%", 1000, 1200),
        ("peak_rss_mb:+100MB", 500, 600),
    ],
)
def test_a_rule_tolerates_what_it_says(text, base, worst):
    assert parse_rule(text).worst(base) == pytest.approx(worst)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("accuracy:-1pp", "unknown metric 'accuracy'"),
        ("certified_accuracy", "cannot be read"),
        ("certified_accuracy:", "cannot be read"),
        ("certified_accuracy:-xpp", "cannot be read"),
        ("certified_accuracy:-infpp", "cannot be read"),
        ("certified_accuracy@-5:-1pp", "cannot be read"),
        ("certified_accuracy@50:+1pp", "falls when it worsens: -1pp"),
        ("certified_accuracy@50:1pp", "falls when it worsens: -1pp"),
        ("train_s:-50%", "rises when it worsens: [+]50%"),
        ("train_s:+5pp", "not counted in pp; allowed: %, s, no unit"),
        ("median_radius:-1pp", "not counted in pp"),
        ("certified_accuracy:-5", "tolerates everything: wanted less than 1"),
        ("clean_accuracy:-100%", "tolerates everything: wanted less than 100%"),
        ("abstained:+100pp", "tolerates everything: wanted less than 100pp"),
        ("clean_accuracy@50:-1pp", "only certified_accuracy is taken at an r"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_in_a_line(text, told):
    with pytest.raises(UsageError, match=told) as caught:
        parse_rule(text)
    assert "\n" not in str(caught.value)


def test_every_metric_has_a_rule_and_accuracies_gate_by_default():
    rules = Rules.parse([])
    gating = {name for name in METRICS if rules.of(name).gates}
    assert gating == {"certified_accuracy", "clean_accuracy", "median_radius"}
    assert all(not rules.of(name).gates for name in COSTS)
    assert rules.r == sorted(SUMMARY_R)


def test_what_is_given_is_added_and_the_most_specific_and_last_one_counts():
    rules = Rules.parse(
        ["certified_accuracy:-2pp", "certified_accuracy@75:-1pp", "train_s:+1%", "train_s:+9%"]
    )
    assert str(rules.of("certified_accuracy", 75)) == "-1 pp"
    assert str(rules.of("certified_accuracy", 50)) == "-2 pp"
    assert str(rules.of("train_s")) == "+9%"
    assert rules.of("train_s").gates
    assert rules.of("clean_accuracy").gates
    assert 75 in rules.r


def test_none_drops_the_default_gates_and_nothing_else():
    rules = Rules.parse(["none", "train_s:+50%"])
    assert [name for name in METRICS if rules.of(name).gates] == ["train_s"]
