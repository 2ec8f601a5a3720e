"""A notebook in which the harness is used as the README says, executed, its outputs looked at."""

import base64
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

README = Path(__file__).parents[2] / "README.md"
PNG = b"\x89PNG\r\n\x1a\n"


def lines_of_the_readme() -> str:
    (block,) = re.findall(r"^```python\n(.*?)^```", README.read_text("utf-8"), re.M | re.S)
    return str(block)


def executed(path: Path, *sources: str) -> list[list[Any]]:
    """The outputs of each cell."""
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(path)}}).execute()
    nbformat.validate(notebook)
    return [cell["outputs"] for cell in notebook["cells"]]


def pictures(outputs: list[Any]) -> list[bytes]:
    return [
        base64.b64decode(one["data"]["image/png"])
        for one in outputs
        if "image/png" in one.get("data", {})
    ]


@pytest.mark.skipif(not README.exists(), reason="there is no README beside the installed package")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the notebook's own libraries
def test_from_import_to_figure_in_three_lines(tmp_path: Path) -> None:
    source = lines_of_the_readme()
    assert len([line for line in source.splitlines() if line]) == 3
    figure, shown, quiet = executed(
        tmp_path,
        source,
        "run",
        "table = run.certificates('dpa', 'any')\n"
        "assert len(table) == 2163\n"
        "same = harness.run(['bagging', 'dpa'], threats='any', progress=True)",
    )
    (picture,) = pictures(figure)
    assert picture.startswith(PNG)
    (tmp_path / "figure.png").write_bytes(picture)
    assert {one["output_type"] for one in figure} == {"execute_result"}, "nothing is printed"
    (run,) = shown
    html = run["data"]["text/html"]
    assert "<table" in html and "bagging" in html and "data:image/png;base64," in html
    assert run["data"]["text/plain"].startswith("<Run of bagging, dpa on mnist17")
    assert {one["name"] for one in quiet} == {"stderr"}
    assert "1,000 of them from before" in "".join(one["text"] for one in quiet)
    assert list(tmp_path.iterdir()) == [tmp_path / "figure.png"], "nothing is left where one works"
