"""The code of docs/python.md, from top to bottom, as somebody would type it."""

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_the_page_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    known: dict[str, Any] = {"__name__": "page"}
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    assert len(blocks) > 3
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), known)
    assert known["found"].regressions == []
    assert (tmp_path / "curves.png").exists()
    assert (tmp_path / "report" / "report.html").exists()
