"""``harness certify``: certificates from votes that somebody else trained."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from harness.cli.program import program
from harness.foreign.case import choose, settle
from harness.foreign.votes import read_votes
from harness.plugins.registry import Registry

VOTES = np.array([[900, 60, 40], [20, 960, 20], [400, 350, 250], [0, 0, 1000]])
LABELS = np.array([0, 1, 0, 1])
BAGGING = ["--n-train", "60000", "--set", "k=100"]


def harness(*arguments: str | Path) -> Result:
    return CliRunner().invoke(program, [str(a) for a in arguments])


def bad(arguments: list[str | Path], message: str) -> None:
    result = harness(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert message in lines[0]


@pytest.fixture
def votes(tmp_path: Path) -> Path:
    path = tmp_path / "votes.npz"
    np.savez(path, votes=VOTES, labels=LABELS)
    return path


def test_help_shows_the_layouts_and_an_example() -> None:
    help_ = harness("certify", "--help").output
    for text in ("(e, c + 1)", "votes_0", "true label", "harness certify bagging"):
        assert text in help_
    shown = harness("show", "dp").output
    assert "certify needs noise_multiplier" in shown
    assert "certify takes sample_rate" in shown


# CERTIFICATES, Jia et al. (2021), Theorem 1 with SimuEM: alpha 0.001, e 10,000, c 10, N 1,000.
@pytest.mark.parametrize(
    ("n", "k", "unanimous", "nine_tenths"),
    [(60_000, 30, 1300, 818), (60_000, 100, 393, 246), (50_000, 500, 65, 41)],
)
@pytest.mark.parametrize("ending", ["npz", "npy", "csv"])
def test_the_published_layout_gives_the_published_radii(
    tmp_path: Path, ending: str, n: int, k: int, unanimous: int, nine_tenths: int
) -> None:
    x = np.zeros((10_000, 11), dtype=np.int64)
    x[:, 3], x[:, 10] = 1000, 3
    x[5000:, 3], x[5000:, 7] = 900, 100
    x[9999, 10] = 7
    path = tmp_path / f"x.{ending}"
    if ending == "npz":
        np.savez(path, x=x)
    elif ending == "npy":
        np.save(path, x)
    else:
        np.savetxt(path, x, fmt="%d", delimiter=",")
    out = tmp_path / "out"
    result = harness(
        "certify", "bagging", "--votes", path, "--n-train", n, "--set", f"k={k}",
        "--threat", "modify", "--alpha", "0.001", "--output", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = pd.read_csv(out / "certificates.csv")
    assert list(found) == ["example", "prediction", "radius"]
    assert list(found["example"]) == list(range(10_000))
    assert set(found["prediction"]) == {3}
    assert set(found["radius"][:5000]) == {unanimous}
    assert set(found["radius"][5000:]) == {nine_tenths}
    curves = pd.read_csv(out / "curves.csv").set_index("r")
    assert list(curves) == ["defense", "certificate", "threat", "guarantee", "certified_accuracy"]
    assert curves["certified_accuracy"][0] == 0.9999
    assert curves["certified_accuracy"][nine_tenths] == 0.9999
    assert curves["certified_accuracy"][nine_tenths + 1] == 0.5
    assert curves["certified_accuracy"][unanimous] == 0.5
    assert curves["certified_accuracy"][unanimous + 1] == 0
    assert set(curves["defense"]) == {f"bagging[k={k}]"}


def test_abstention_is_minus_one_and_threats_get_a_column(votes: Path, tmp_path: Path) -> None:
    result = harness(
        "certify", "bagging", "--votes", votes, *BAGGING,
        "--threat", "any", "--threat", "modify", "--output", tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = pd.read_csv(tmp_path / "out" / "certificates.csv")
    assert list(found) == ["threat", "example", "prediction", "radius"]
    assert list(found["threat"]) == ["any"] * 4 + ["modify"] * 4
    assert list(found["prediction"]) == [0, 1, 0, 2] * 2
    assert list(found["radius"] == -1) == [False, False, True, False] * 2
    curves = pd.read_csv(tmp_path / "out" / "curves.csv")
    assert list(curves[curves["r"] == 0]["certified_accuracy"]) == [0.5, 0.5]
    assert "50.0" in result.output
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["cells"][0]["params"]["n_models"] == 1000
    assert manifest["dataset"]["n_train"] == 60000


def test_the_same_as_in_a_run(tiny_npz: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    spec = "bagging[n_models=50,k=5,features=raw]"
    done = harness("run", "-d", spec, "--dataset", f"npz:{tiny_npz}", "--output", run)
    assert done.exit_code == 0, done.output
    with np.load(next((run / "evidence").glob("*.npz"))) as archive:
        np.savez(tmp_path / "v.npz", votes=archive["votes"], labels=np.load(tiny_npz)["y_test"])
    again = harness(
        "certify", spec, "--votes", tmp_path / "v.npz", "--n-train", "120",
        "--threat", "modify", "--threat", "any", "--threat", "label-flip",
        "--output", tmp_path / "out",
    )  # fmt: skip
    assert again.exit_code == 0, again.output
    assert (run / "curves.csv").read_bytes() == (tmp_path / "out" / "curves.csv").read_bytes()


def test_without_labels_the_curves_count_predictions(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    pd.DataFrame(VOTES, columns=["votes_0", "votes_1", "votes_2"]).to_csv(path, index=False)
    out = tmp_path / "out"
    result = harness("certify", "bagging", "--votes", path, *BAGGING, "--output", out)
    assert result.exit_code == 0, result.output
    curves = pd.read_csv(out / "curves.csv").set_index("r")
    assert "certified_accuracy" not in curves
    assert curves["certified_predictions"][0] == 0.75
    summary = pd.read_csv(out / "summary.csv")
    assert not [name for name in summary if "certified_accuracy" in name]
    assert list(summary["certified_predictions@0"]) == [0.75]
    assert summary[["clean_accuracy", "train_s", "predict_s", "peak_rss_mb"]].isna().all(axis=None)
    with np.load(out / "certificates.npz") as archive:
        assert set(archive) == {f"bagging[k=100]|any|{what}" for what in ("predictions", "radii")}
    assert "radius >= r, %" in result.output
    assert "75.0" in result.output
    assert "clean" not in result.output


def test_without_output_only_a_table(votes: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    result = harness("certify", "bagging[k=100]", "--votes", votes, "--n-train", "60000")
    assert result.exit_code == 0, result.output
    assert "probabilistic (alpha=0.001 per defense)" in result.output
    assert sorted(tmp_path.iterdir()) == before


def plurality(votes: np.ndarray[Any, Any]) -> tuple[int, int]:
    """The winner and how many votes may be changed, by trying every way of moving votes."""
    winner = int(votes.argmax())
    size = 0
    while True:
        size += 1
        for rival in range(len(votes)):
            for taken in product(range(size + 1), repeat=len(votes)):
                if sum(taken) > size or (np.array(taken) > votes).any() or taken[rival]:
                    continue
                moved = votes - taken
                moved[rival] += sum(taken)
                if int(moved.argmax()) != winner:
                    return winner, size - 1


@pytest.mark.parametrize("kind", ["votes", "predictions"])
def test_dpa_from_votes_and_from_predictions(tmp_path: Path, kind: str) -> None:
    predictions = np.random.default_rng(3).choice(3, size=(9, 12), p=(0.6, 0.3, 0.1))
    counts = np.stack([(predictions == label).sum(0) for label in range(3)], axis=1)
    arrays = {"votes": counts} if kind == "votes" else {"predictions": predictions}
    np.savez(tmp_path / "v.npz", label_in_hash=0, **arrays)
    result = harness(
        "certify", "dpa", "--votes", tmp_path / "v.npz", "--threat", "label-flip",
        "--output", tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert ("those that occur" in result.output) == (kind == "predictions")
    found = pd.read_csv(tmp_path / "out" / "certificates.csv")
    wanted = [plurality(row) for row in counts]
    assert list(zip(found["prediction"], found["radius"], strict=True)) == wanted
    assert "deterministic" in result.output


def test_bagflip_from_votes(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    pd.DataFrame([[990, 10], [520, 480]], columns=["votes_0", "votes_1"]).to_csv(path, index=False)
    certify = ["certify", "bagflip", "--votes", path, "--n-train", 13_007]
    both = [*certify, "--set", "keep=0.9", "--set", "noised=features-and-labels"]
    out = tmp_path / "out"
    result = harness(
        *both, "--set", "k=20", "--set", "dimension=4",
        "--threat", "modify", "--threat", "label-flip", "--output", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = pd.read_csv(out / "certificates.csv").set_index(["threat", "example"])["radius"]
    assert found["label-flip", 0] > found["modify", 0] > 300
    assert found["label-flip", 1] == found["modify", 1] == -1
    bad([*both, "--threat", "modify"], "bagflip needs --set k=")
    bad([*both, "--set", "k=20", "--threat", "modify"], "needs --set dimension=")
    labels = [*certify, "--set", "k=20", "--set", "noised=labels"]
    bad([*labels, "--set", "keep=0.9", "--threat", "modify"], "covers label-flip; not modify")
    bad([*labels, "--set", "keep=0.5", "--threat", "label-flip"], "keep=0.5 is not allowed")


def test_dpa_takes_the_hash_to_cover_the_label_unless_told(votes: Path) -> None:
    def largest(*more: str) -> int:
        result = harness("certify", "dpa", "--votes", votes, "--threat", "label-flip", *more)
        assert result.exit_code == 0, result.output
        return int(result.output.splitlines()[2].split()[-1])

    assert largest() == 234  # of the right ones: 960 votes against 20 of a smaller label
    assert largest("--set", "label_in_hash=0") == 469


TWO = np.array([[2, 1], [0, 3]])
COSTS = np.array([[[0, 3], [9, 0]], [[0, 5], [8, 0]], [[2, 0], [2**40, 0]]])
WHITE_BOX = ["dpa[certificate=white-box]", "--threat", "label-flip", "--n-train", "60"]


def test_dpa_at_what_other_peoples_parts_cost(tmp_path: Path) -> None:
    """The first vote turns with its cheaper model, the second with the two cheapest of three."""
    np.savez(tmp_path / "v.npz", votes=TWO, costs=COSTS, label_in_hash=0)
    result = harness(
        "certify", *WHITE_BOX, "--votes", tmp_path / "v.npz", "--output", tmp_path / "out"
    )
    assert result.exit_code == 0, result.output
    found = pd.read_csv(tmp_path / "out" / "certificates.csv")
    assert list(zip(found["prediction"], found["radius"], strict=True)) == [(0, 2), (1, 16)]


def test_finite_aggregation_with_predictions_and_offsets(tmp_path: Path) -> None:
    predictions = np.array([[0, 0], [0, 1], [0, 0], [0, 1], [1, 0], [0, 1]])
    np.savez(tmp_path / "v.npz", predictions=predictions, offsets=[0, 2], labels=[0, 0])
    result = harness(
        "certify", "finite-aggregation", "--votes", tmp_path / "v.npz", "--threat", "insert",
        "--output", tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = pd.read_csv(tmp_path / "out" / "certificates.csv")
    # Each part reaches two models. First example, 5 to 1: one part turns at most two votes, 3 to 3,
    # and the tie is label 0's; a second part does it. Second example, 3 to 3: any vote is enough.
    assert list(found["prediction"]) == [0, 0]
    assert list(found["radius"]) == [1, 0]
    np.savez(tmp_path / "v.npz", predictions=predictions)
    bad(
        ["certify", "finite-aggregation", "--votes", tmp_path / "v.npz"],
        "holds no offsets, which finite-aggregation needs",
    )


def test_dp_pointwise_from_votes_and_the_noise(votes: Path, tmp_path: Path) -> None:
    arguments: list[str | Path] = [
        "certify", "dp", "--votes", votes, "--n-train", "60000", "--set", "certificate=pointwise",
        "--set", "steps=16",
    ]  # fmt: skip
    bad(arguments, "holds no noise_multiplier, which dp needs")
    arguments += ["--set", "noise_multiplier=200", "--output", tmp_path / "out"]
    result = harness(*arguments, "--threat", "insert")
    assert result.exit_code == 0, result.output
    radii = pd.read_csv(tmp_path / "out" / "certificates.csv")["radius"]
    # mu = sqrt(16) / 200; p of 1000 of 1000 votes, at 0.001 / (4 * 3), is at least 1 - 0.0094
    from scipy.stats import beta, norm

    low = beta.ppf(0.001 / 12, 1000, 1)
    bound = (norm.ppf(low) - norm.ppf(1 - low)) / (2 * 4 / 200)
    assert radii[3] == np.ceil(bound) - 1
    assert radii[2] == -1
    modify = harness(*arguments, "--threat", "modify")
    assert modify.exit_code == 0, modify.output
    halved = pd.read_csv(tmp_path / "out" / "certificates.csv")["radius"]
    assert halved[3] == radii[3] // 2


def test_numbers_may_lie_in_the_file(votes: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "k.npz", votes=VOTES, labels=LABELS, k=100)
    with_k = harness("certify", "bagging", "--votes", tmp_path / "k.npz", "--n-train", "60000")
    without = harness("certify", "bagging", "--votes", votes, *BAGGING)
    assert with_k.exit_code == without.exit_code == 0
    largest = [r.output.splitlines()[2].split()[-1] for r in (with_k, without)]
    assert largest[0] == largest[1] != "0"


def test_a_folder_that_holds_something_else(votes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    arguments: list[str | Path] = ["certify", "bagging", "--votes", votes, *BAGGING]
    bad([*arguments, "--output", out], "is not empty and holds no run (found mine.txt)")
    assert [p.name for p in out.iterdir()] == ["mine.txt"]
    out = tmp_path / "other"
    assert harness(*arguments, "--output", out).exit_code == 0
    first = (out / "certificates.csv").read_bytes()
    assert harness(*arguments, "--output", out).exit_code == 0
    assert (out / "certificates.csv").read_bytes() == first
    another: list[str | Path] = ["certify", "bagging[k=7]", "--votes", votes, "--n-train", "60000"]
    bad([*another, "--output", out], "its defenses are bagging[k=100]")
    fewer: list[str | Path] = ["certify", "bagging[k=100]", "--votes", votes, "--n-train", "600"]
    bad([*fewer, "--output", out], "its data have changed")
    assert (out / "certificates.csv").read_bytes() == first
    assert harness(*another, "--output", out, "--fresh").exit_code == 0
    assert (out / "certificates.csv").read_bytes() != first
    assert not list(out.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["baging", *BAGGING], "unknown defense 'baging'; did you mean bagging?"),
        (["label-flip"], "label-flip cannot work from votes that somebody else trained; these can"),
        (["bagging", "--set", "k=10"], "bagging needs --n-train: training examples, n"),
        (["bagging", "--n-train", "9"], "bagging needs --set k=...: examples in a subsample"),
        (["bagging", *BAGGING, "--n-train", "0"], "n-train must be at least 1, found 0"),
        (["bagging", *BAGGING, "--set", "k=3"], "k is given twice"),
        (["bagging[k=5]", *BAGGING], "k is given twice"),
        (["bagging", "--n-train", "9", "--set", "k"], "'k' is not of the form key=value"),
        (["bagging", "--n-train", "9", "--set", "k=0"], "bagging: k=0 is not allowed"),
        (["bagging", *BAGGING, "--set", "kk=0"], "unknown parameter of bagging 'kk'"),
        (["bagging", *BAGGING, "--set", "n_train=9"], "n_train is given with --n-train"),
        (["bagging", *BAGGING, "--set", "n_models=9"], "holds 1000 base models, not n_models=9"),
        (["bagging", *BAGGING, "--n-labels", "4"], "n-labels must be 3, as the votes have"),
        (["bagging", *BAGGING, "--n-labels", "1"], "n-labels must be at least 2, found 1"),
        (["bagging", *BAGGING, "--threat", "modfy"], "unknown threat 'modfy'; did you mean modify"),
        (["bagging", *BAGGING, "--alpha", "0"], "alpha must be above 0 and below 1, found 0"),
        (["bagging", *BAGGING, "--alpha", "nan"], "alpha must be above 0 and below 1, found nan"),
        (["dp", *BAGGING[:2], "--set", "noise_multiplier=1", "--set", "steps=1"], "average accura"),
        (
            ["dp", *BAGGING[:2], "--set", "noise_multiplier=lots", "--set", "steps=1"],
            "dp: noise_multiplier=lots is not a number",
        ),
        (
            ["dp[certificate=pointwise,steps=1]", *BAGGING[:2], "--set", "noise_multiplier=-1"],
            "votes.npz: wanted noise_multiplier > 0, steps >= 1",
        ),
    ],
)  # fmt: skip
def test_bad_input_gets_one_clear_line(votes: Path, arguments: list[str], message: str) -> None:
    bad(["certify", *arguments, "--votes", votes], message)


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "v.npz"
    np.savez(path, votes=VOTES, labels=[0, 1, 2, 3])
    bad(["certify", "bagging", *BAGGING, "--votes", path], "labels must be 0 to 2, found 3")
    np.savez(path, predictions=[[0, 1], [1, 3]], offsets=[0, 1])
    finite: list[str | Path] = ["certify", "finite-aggregation", "--votes", path]
    bad([*finite, "--n-labels", "3"], "predictions must be 0 to 2, found 3")
    bad(["certify", "bagging", *BAGGING, "--votes", tmp_path / "no.npz"], "no.npz: No such file")
    np.savez(path, predictions=[[0, 1], [1, 1]], offsets=[0, 7])
    bad(finite, "offsets must be distinct whole numbers from 0 to 1")


def test_a_threat_that_is_not_covered(
    votes: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from harness.defenses.bagging import Bagging
    from harness.threats import Threat

    monkeypatch.setattr(Bagging, "covers", lambda self: frozenset({Threat.MODIFY, Threat.DELETE}))
    arguments: list[str | Path] = ["certify", "bagging", "--votes", votes, *BAGGING]
    bad(arguments, "bagging[k=100] covers modify, delete; not any")
    out = tmp_path / "out"
    both = harness(*arguments, "--threat", "any", "--threat", "modify", "--output", out)
    assert both.exit_code == 0, both.output
    assert "not covered: any" in both.output
    assert set(pd.read_csv(out / "certificates.csv")["threat"]) == {"modify"}
    curves = pd.read_csv(out / "curves.csv").groupby("threat")["guarantee"].unique()
    assert list(curves["any"]) == ["not covered"]
    assert "not covered" not in curves["modify"]


def test_many_examples_are_certified_as_few_are(votes: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    many = rng.multinomial(1000, (0.5, 0.3, 0.1, 0.05, 0.05), size=50_000)
    np.savez(tmp_path / "many.npz", votes=many)
    out = tmp_path / "out"
    result = harness(
        "certify", "bagging[split=per-example]", "--votes", tmp_path / "many.npz", *BAGGING,
        "--output", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    radii = pd.read_csv(out / "certificates.csv")["radius"].to_numpy()
    np.savez(tmp_path / "few.npz", votes=many[:100])
    few = tmp_path / "few"
    harness(
        "certify", "bagging[split=per-example]", "--votes", tmp_path / "few.npz", *BAGGING,
        "--output", few,
    )  # fmt: skip
    assert list(pd.read_csv(few / "certificates.csv")["radius"]) == list(radii[:100])


def test_arrays_that_are_not_read_are_named_and_change_nothing(votes: Path, tmp_path: Path) -> None:
    """Vote fractions that somebody calls probabilities are no exact probabilities."""
    more = tmp_path / "more.npz"
    np.savez(more, votes=VOTES, labels=LABELS, probabilities=VOTES / 1000, seed=7)
    arguments = [*BAGGING, "--output"]
    plain = harness("certify", "bagging", "--votes", votes, *arguments, tmp_path / "plain")
    found = harness("certify", "bagging", "--votes", more, *arguments, tmp_path / "more")
    assert plain.exit_code == found.exit_code == 0, found.output
    assert "ignored" not in plain.output
    assert "ignored, not read by bagging: probabilities, seed\n" in found.output
    assert "guarantee: probabilistic (alpha=0.001 " in found.output
    for name in ("certificates.csv", "curves.csv"):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "more" / name).read_bytes()
    nearest = harness("certify", "bagging", "--votes", more, *BAGGING, "--set", "learner=1nn")
    assert "guarantee: probabilistic (alpha=0.001 " in nearest.output


def test_certify_is_given_what_the_defense_names_and_no_more(
    registry: Registry, tmp_path: Path
) -> None:
    path = tmp_path / "v.npz"
    np.savez(path, votes=VOTES, probabilities=VOTES / 1000, k=100, sigma=0.5)
    choice = choose(registry, "bagging", [])
    case = settle(choice, read_votes(path), path, n_train=9, n_labels=None)
    assert set(case.evidence) == {"votes", "k"}
    assert case.ignored == ("probabilities", "sigma")


def test_numbers_of_the_file_must_be_numbers_and_agree(tmp_path: Path) -> None:
    path = tmp_path / "v.npz"
    arguments: list[str | Path] = ["certify", "bagging", "--votes", path, "--n-train", "60000"]
    np.savez(path, votes=VOTES, k=[100])
    one = harness(*arguments)
    assert one.exit_code == 0, one.output
    assert one.output.startswith("bagging[k=100]:")
    np.savez(path, votes=VOTES, k=[100, 200])
    bad(arguments, "v.npz: k must be one number, found shape (2,)")
    np.savez(path, votes=VOTES, k=100)
    bad([*arguments, "--set", "k=50"], "v.npz holds k=100, not 50")
    np.savez(path, votes=VOTES, k=100.0)
    assert harness(*arguments, "--set", "k=100").output == one.output


@pytest.mark.parametrize(
    ("arguments", "arrays", "message"),
    [
        (
            ["dp[certificate=pointwise,steps=9]", *BAGGING[:2], "--set", "noise_multiplier=99"],
            {"votes": VOTES, "never_clipped": 1},
            "v.npz: never_clipped must be 0 where votes has 3 labels",
        ),
        (
            ["dpa[election=run-off]"],
            {"votes": VOTES, "preferences": np.zeros((4, 3, 3), int)},
            "v.npz: preferences must be counts",
        ),
        (
            ["finite-aggregation[election=run-off]"],
            {"predictions": [[0], [2]], "offsets": [0], "ranks": np.zeros((2, 1, 3), int)},
            "v.npz: ranks must give each label a place of its own",
        ),
        (
            ["finite-aggregation"],
            {"predictions": [[0], [2]], "offsets": [0], "votes": [[1, 1, 0]]},
            "disagree: test example 0 has votes [1 1 0], and its predictions make [1 0 1]",
        ),
        (
            ["dpa"],
            {"predictions": [[0], [1]], "votes": [[2, 0]]},
            "v.npz: votes and predictions disagree",
        ),
        (WHITE_BOX, {"votes": TWO, "label_in_hash": 0}, "v.npz: certificate=white-box needs costs"),
        (WHITE_BOX, {"votes": TWO, "costs": COSTS}, "white-box needs label_in_hash=0"),
        (
            WHITE_BOX,
            {"votes": TWO, "costs": COSTS[:2], "label_in_hash": 0},
            "v.npz: costs must be (m, e, c), here (3, 2, 2), found (2, 2, 2)",
        ),
        (
            WHITE_BOX,
            {"votes": TWO, "costs": COSTS / 2, "label_in_hash": 0},
            "v.npz: costs must be whole numbers",
        ),
        (
            WHITE_BOX,
            {"votes": TWO, "costs": COSTS[..., ::-1], "label_in_hash": 0},
            "in test example 0 that is not what votes say",
        ),
        (
            WHITE_BOX,
            {"votes": TWO, "costs": 0 * COSTS, "label_in_hash": 0},
            "v.npz: costs must be 0 for the one label",
        ),
    ],
)  # fmt: skip
def test_evidence_that_contradicts_itself(
    tmp_path: Path, arguments: list[str], arrays: dict[str, Any], message: str
) -> None:
    np.savez(tmp_path / "v.npz", **arrays)
    bad(["certify", *arguments, "--votes", tmp_path / "v.npz"], message)


def cell_of(folder: Path) -> tuple[Any, dict[str, Any]]:
    manifest = json.loads((folder / "manifest.json").read_text())
    return manifest["alpha"], manifest["cells"][0]["params"]


def test_the_manifest_states_what_was_told_and_nothing_else(votes: Path, tmp_path: Path) -> None:
    """How other people's models were trained is theirs to say: not our defaults."""
    out = tmp_path / "out"
    assert harness("certify", "bagging", "--votes", votes, *BAGGING, "--output", out).exit_code == 0
    assert cell_of(out) == (0.001, {"k": 100, "n_models": 1000, "split": "paper"})
    told = [*BAGGING, "--set", "features=raw", "--fresh", "--output", out]
    assert harness("certify", "bagging", "--votes", votes, *told).exit_code == 0
    assert cell_of(out)[1] == {"k": 100, "n_models": 1000, "split": "paper", "features": "raw"}
    dpa = harness("certify", "dpa", "--votes", votes, "--output", tmp_path / "dpa")
    assert dpa.exit_code == 0, dpa.output
    solver = {"time_limit": 60.0, "program_size": 1000}
    assert cell_of(tmp_path / "dpa") == (
        None,
        {"n_models": 1000, "election": "plurality", **solver},
    )


def test_alpha_that_plays_no_part_is_said_to(votes: Path) -> None:
    said = "alpha plays no part"
    asked = ["--alpha", "0.001"]
    assert said in harness("certify", "dpa", "--votes", votes, *asked).output
    assert said not in harness("certify", "dpa", "--votes", votes).output
    assert said not in harness("certify", "bagging", "--votes", votes, *BAGGING, *asked).output


def test_the_published_convention_is_an_estimate(votes: Path) -> None:
    arguments = ["--set", "steps=9", "--set", "noise_multiplier=99", "--set", "adjacency=paper"]
    result = harness(
        "certify", "dp[certificate=pointwise]", "--votes", votes, *BAGGING[:2], *arguments
    )
    assert result.exit_code == 0, result.output
    assert "guarantee: estimate" in result.output


ALL_THREATS = ["any", "modify", "insert", "delete", "label-flip"]


@pytest.mark.parametrize("n", [60_000, 10**7, 10**9, 10**12])
@pytest.mark.parametrize("labelled", [True, False])
def test_everything_is_readable_in_80_columns(tmp_path: Path, n: int, labelled: bool) -> None:
    votes = np.array([[1000, 0], [950, 50], [800, 200]])
    np.savez(tmp_path / "v.npz", votes=votes, **({"labels": [0, 0, 0]} if labelled else {}))
    threats = [word for threat in ALL_THREATS for word in ("--threat", threat)]
    result = harness(
        "certify", "bagging", "--votes", tmp_path / "v.npz", "--n-train", n, "--set", "k=10",
        *threats,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert max(map(len, lines)) <= 80
    assert "\u2026" not in result.output
    whole = " ".join(lines).split()
    for word in ("r=0", "r=10", "r=50", "r=100", "r=200", "r=500", "r=1000", "largest"):
        assert word in whole
    assert ("clean" in whole) == labelled
    assert whole.count("label-flip") in (1, 2)
    assert all(line == line.rstrip() for line in lines)


def test_help_says_when_there_is_a_column_of_threats() -> None:
    shown = harness("certify", "--help").output
    assert max(map(len, shown.splitlines())) <= 80
    text = " ".join(shown.split())
    assert "with several threats a column threat before them" in text
