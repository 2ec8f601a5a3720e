"""The generated tables of docs/ are true, and as they would be generated now."""

import re
from pathlib import Path

import numpy as np
import pytest

from harness.certificates import PointwiseCertificate
from harness.cli import docs
from harness.defense import Evidence
from harness.errors import DataError
from harness.plugins.registry import Registry
from harness.plugins.selection import Selection
from harness.threats import Threat, Unit, cost, covered

FOLDER = Path(__file__).parents[2] / "docs"


def text_of(page: str) -> str:
    return (FOLDER / page).read_text("utf-8")


@pytest.fixture(scope="module")
def built_in() -> Registry:
    return docs.built_in()


@pytest.mark.parametrize("page", sorted(path.name for path in FOLDER.glob("*.md")))
def test_generated_tables_are_what_would_be_generated(page: str, built_in: Registry) -> None:
    assert text_of(page) == docs.refreshed(text_of(page), built_in), "run: tox -e docs"


def test_every_section_is_shown_once() -> None:
    shown = re.findall(
        r"<!-- generated: (\S+) -->",
        "".join(path.read_text("utf-8") for path in FOLDER.glob("*.md")),
    )
    assert sorted(shown) == ["costs", "datasets", "defenses", "features", "learners"]


def test_every_built_in_has_its_tables(built_in: Registry) -> None:
    page = text_of("parameters.md")
    for name, entry in built_in.defenses.entries.items():
        section = page.split(f"### {name}\n")[1].split("\n### ")[0].split("\n## ")[0]
        assert entry.value.paper in section
        rows = re.findall(r"^\| `(\w+)` \| .*\|$", section, re.MULTILINE)
        assert rows == list(entry.value.Params.model_fields)
    for name in built_in.learners.entries:
        assert f"\n| `{name}` |" in page.split("## Learners")[1]


def test_every_built_in_counts_in_a_unit_that_covers_what_it_covers(built_in: Registry) -> None:
    named = {name.partition("[")[0] for name, _, _ in docs.UNITS}
    assert named == set(built_in.defenses.entries)
    for name, _, unit in docs.UNITS:
        selection = Selection.parse(name)
        defense = selection.build(built_in.defenses[selection.name].value)
        assert defense.covers() == covered(unit), name


@pytest.mark.parametrize(
    ("name", "when", "unit"), [row for row in docs.UNITS if row[0].startswith("dp")]
)
def test_the_units_are_those_that_certificates_count(
    built_in: Registry, name: str, when: str, unit: Unit
) -> None:
    one = Selection.parse(name)
    pointwise = (("certificate", "pointwise"),) if one.name == "dp" else ()
    selection = Selection(one.name, one.parameters + pointwise)
    defense = selection.build(built_in.defenses[one.name].value)
    told = {
        "votes": np.array([[1000, 0], [0, 1000], [900, 100]]),
        "noise_multiplier": np.array(4000.0),
        "steps": np.array(20),
        "sample_rate": np.array(1.0),
        "never_clipped": np.array(int("two labels" in when)),
        "label_in_hash": np.array(int("content" in name)),
    }
    evidence = Evidence(told, 13_007, 2, 784)
    certificates = {threat: defense.certify(evidence, threat, 0.001) for threat in Threat}
    radii = {t: c.radii for t, c in certificates.items() if isinstance(c, PointwiseCertificate)}
    assert radii[Threat.INSERT].min() > 4
    for threat in Threat:
        price = cost(unit, threat)
        assert price is not None
        assert radii[threat].tolist() == (radii[Threat.INSERT] // price).tolist()


def test_a_section_that_does_not_exist_or_end_is_named(built_in: Registry) -> None:
    with pytest.raises(DataError, match="no section 'x' is generated; allowed: costs"):
        docs.refreshed("<!-- generated: x -->\n<!-- end of x -->", built_in)
    with pytest.raises(DataError, match="does not end"):
        docs.refreshed("<!-- generated: costs -->\n<!-- end of learners -->", built_in)


def test_the_program_refreshes_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- generated: costs -->\nold\n<!-- end of costs -->\nb\n")
    assert docs.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"changed: {page}\n"
    assert "old" not in page.read_text()
    assert "| `bagging` | poisoned example |" in page.read_text()
    assert docs.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == ""
    assert docs.main([str(tmp_path / "missing")]) == 2
    assert "wanted the folder" in capsys.readouterr().err


def test_threats_contain_one_another_as_the_page_says() -> None:
    for unit in Unit:
        prices = {t: cost(unit, t, values_per_example=785) for t in Threat}
        for stronger, weaker in (
            (Threat.ANY, Threat.MODIFY),
            (Threat.ANY, Threat.INSERT),
            (Threat.ANY, Threat.DELETE),
            (Threat.MODIFY, Threat.LABEL_FLIP),
        ):
            price = prices[stronger]
            if price is not None:
                assert (prices[weaker] or price + 1) <= price
    table = text_of("threats.md").split("\n\n")[2]
    assert re.findall(r"^\| `(\S+)` \|", table, re.MULTILINE) == [
        "modify", "insert", "delete", "any", "label-flip",
    ]  # fmt: skip
