"""The defense that new plugins start from is sound; broken by hand, its author is told how."""

import importlib.util
import itertools
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from harness.certificates import PointwiseCertificate
from harness.datasets.base import Dataset
from harness.defense import Evidence
from harness.plugins.registry import Registry
from harness.scaffold.templates import my_defense
from harness.scaffold.templates.my_defense import PARTS_CHANGED, MyDefense, MyParameters
from harness.testing import ConformanceError, check_defense
from harness.testing.bench import make_bench
from harness.threats import Threat, Unit, cost

SOURCE = Path(my_defense.__file__).read_text("utf-8")


def test_it_charges_what_the_table_of_costs_says() -> None:
    assert {t: cost(Unit.FEATURE_PART, t) for t in Threat} == PARTS_CHANGED


def rewritten(counts: tuple[int, ...]) -> set[tuple[int, ...]]:
    """Votes after one part has changed. The last of the counts is of parts that are empty."""
    kinds = range(len(counts))
    moves = [(a, b) for a, b in itertools.product(kinds, kinds) if counts[a]]
    return {tuple(counts[i] - (i == a) + (i == b) for i in kinds) for a, b in moves}


def withstood(counts: tuple[int, ...]) -> int:
    """How many changed parts leave the winner as it is: by trying all of them."""
    winner, reached = int(np.argmax(counts[:-1])), {counts}
    for r in range(sum(counts) + 1):
        if any(np.argmax(found[:-1]) != winner for found in reached):
            return r - 1
        reached = set().union(*map(rewritten, reached))
    raise AssertionError("whoever changes all parts decides")


@pytest.mark.parametrize(("n_models", "n_labels"), [(1, 2), (6, 2), (7, 2), (5, 3), (4, 4)])
def test_its_radius_is_what_all_attacks_leave(n_models: int, n_labels: int) -> None:
    sizes = itertools.product(range(n_models + 1), repeat=n_labels + 1)
    counts = [each for each in sizes if sum(each) == n_models]
    votes = np.array(counts)[:, :-1]
    evidence = Evidence({"votes": votes}, n_train=9, n_labels=n_labels, dimension=1)
    certificate = MyDefense(MyParameters()).certify(evidence, Threat.INSERT, 0.001)
    assert certificate.radii.tolist() == [withstood(each) for each in counts]


INPUTS = np.array(list(itertools.product((0, 255), repeat=3)), np.uint8)
Examples = tuple[tuple[int, int], ...]
"""A training set: input and label of each example."""


def attacked(examples: Examples, threat: Threat) -> Iterator[Examples]:
    """All training sets that one poisoning makes of this one."""
    n, anything = len(examples), list(itertools.product(range(len(INPUTS)), range(2)))
    for i in range(n):
        rest = examples[:i] + examples[i + 1 :]
        if threat in (Threat.MODIFY, Threat.ANY):
            yield from ((*rest, example) for example in anything)
        if threat is Threat.LABEL_FLIP:
            yield (*rest, (examples[i][0], 1 - examples[i][1]))
        if threat in (Threat.DELETE, Threat.ANY) and n > 1:
            yield rest
    if threat in (Threat.INSERT, Threat.ANY):
        yield from ((*examples, example) for example in anything)


@pytest.mark.parametrize("threat", Threat)
def test_no_attack_on_a_tiny_training_set_breaks_it(registry: Registry, threat: Threat) -> None:
    """Every training set within the radius is trained on."""
    defense = MyDefense(MyParameters(n_models=6))

    @cache
    def certified(examples: Examples) -> PointwiseCertificate:
        x, y = INPUTS[[i for i, _ in examples]], np.array([label for _, label in examples])
        arrays = {"x_train": x, "y_train": y, "x_test": INPUTS, "y_test": np.zeros(8, np.int64)}
        data = Dataset(name="eight", label_names=("0", "1"), **arrays)
        certificate = make_bench(defense, data, registry).certify(threat)
        assert isinstance(certificate, PointwiseCertificate)
        return certificate

    checked = 0
    rng = np.random.default_rng(3)
    for trial in range(6):
        inputs = rng.permutation(len(INPUTS))[:5].tolist()
        examples = tuple(sorted((i, int(rng.random() < 0.9 * (trial % 2))) for i in inputs))
        before = certified(examples)
        reached = {examples}
        for r in range(1, min(int(before.radii.max()), 2) + 1):
            reached = {tuple(sorted(after)) for one in reached for after in attacked(one, threat)}
            for after in reached:
                changed = certified(after).predictions != before.predictions
                assert not (changed & (before.radii >= r)).any(), (examples, after)
                checked += 1
    assert checked > 20


BROKEN = {
    "leaks the mean": (
        ('task.features("raw")\n', 'task.features("raw")\n        x = x - x.mean(0)\n'),
        ("isolation: one and the same example", "training example 0", "a mean, a scale"),
    ),
    "leaks a scale": (
        ("model.predict(x_test)", "model.predict(x_test / x.max())"),
        ("isolation: noise in place of training example 0 changed the test", "a mean, a scale"),
    ),
    "counts a lead twice": (
        ("// 2 // PARTS", "// PARTS"),
        ("label flip attacks change nothing: my-defense[n_models=", "(a factor 2)", "makes it "),
    ),
    "forgets the tie": (
        (" - (np.arange(votes.shape[1]) < winner[:, None])", ""),
        ("under label-flip: predicted 1, radius 1", "a tie goes to the smaller label"),
    ),
    "forgets that a part is entered as well": (
        ("Threat.MODIFY: 2", "Threat.MODIFY: 1"),
        (
            "under modify: predicted ",
            ", radius 1; yet training example",
            "leaves one part and enters another",
        ),
    ),
    "deals out by position": (
        ("int.from_bytes(digest) % n_models", "i % n_models"),
        ("isolation: removing training example 23 moved other", "a rank, a position"),
    ),
    "transposes": (
        ('{"votes": votes}', '{"votes": votes.T}'),
        ("radii have shape (2,); wanted one for each of 12 examples", "a transposed array"),
    ),
    "drops an example": (
        ("winner, radii)", "winner[1:], radii[1:])"),
        ("radii have shape (11,); wanted one for each of 12", "one value too few"),
    ),
    "seeds from the clock": (
        ("int.from_bytes(digest)", "__import__('time').time_ns()"),
        ("training can be repeated: trained twice, votes at [", "a seed taken from the clock"),
    ),
    "ignores alpha": (
        ("DETERMINISTIC", "Guarantee.probabilistic(alpha)"),
        ("alpha = 1e-100 proves exactly as much as alpha = 0.5", "alpha that never reaches"),
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_broken_on_purpose_it_is_explained(registry: Registry, tmp_path: Path, how: str) -> None:
    (old, new), words = BROKEN[how]
    head, body = SOURCE.split("PARTS_CHANGED = {", 1)
    assert old in body
    path = tmp_path / "broken.py"
    path.write_text(f"{head}PARTS_CHANGED = {{{body.replace(old, new)}", "utf-8")
    spec = importlib.util.spec_from_file_location("broken", path)
    assert spec is not None and spec.loader is not None
    broken = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(broken)
    with pytest.raises(ConformanceError) as caught:
        check_defense(broken.MyDefense, registry=registry)
    for part in ("breaks 1 of", *words):
        assert part in str(caught.value)
