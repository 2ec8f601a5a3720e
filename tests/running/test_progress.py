"""Bars on a terminal: numbers that can be read beside long labels, and work that takes long."""

import io

from rich.console import Console

from harness.running import progress
from harness.running.progress import show_progress

LABEL = "dpa[n_models=500,features=pretrained(model='my_networks:lite0', size=128)]"


class Terminal(io.StringIO):
    """What is written, as on a terminal of 80 columns."""

    def isatty(self):
        return True


def shown(monkeypatch, act):
    terminal = Terminal()
    wide = Console(file=terminal, force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr(progress, "Console", lambda **_: wide)
    with show_progress() as bars:
        act(bars)
        bars._bars.refresh()
    return terminal.getvalue()


def test_numbers_stand_beside_a_long_label(monkeypatch):
    def act(bars):
        bars.start(LABEL, 500, 120)
        bars.working("pretrained(model='my_networks:lite0', size=128)", 4096, 60000)

    text = shown(monkeypatch, act)
    assert "120/500" in text
    assert "4096/60000" in text
    assert "dpa[n_models=500" in text


def test_the_bar_of_what_is_done_goes(monkeypatch):
    def act(bars):
        bars.start(LABEL, 500, 0)
        bars.working("hog", 0, 10)
        bars.working("hog", 10, 10)
        assert [one.description for one in bars._bars.tasks] == [LABEL.replace("[", r"\[")]
        bars.finish(LABEL, 1.0, None)
        assert bars._bars.tasks[0].finished

    shown(monkeypatch, act)
