"""The yardstick: measured once, measured again when it has grown old, added up over blocks."""

import pytest
import torch

from harness.results.files import Stored
from harness.running import calibration
from harness.running.attempt import _yardstick
from harness.running.calibration import Calibration


def test_it_is_measured_again_only_when_it_is_old(monkeypatch):
    now, taken = [0.0], iter([0.5, 0.7])
    monkeypatch.setattr(calibration.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(calibration, "calibrate", lambda device: next(taken))
    yardstick = Calibration(torch.device("cpu"))
    assert yardstick.seconds() == 0.5
    now[0] = 29.0
    assert yardstick.seconds() == 0.5
    now[0] = 31.0
    assert yardstick.seconds() == 0.7


def test_it_takes_some_time_and_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    assert calibration.calibrate(torch.device("cpu")) > 0
    assert torch.equal(before, torch.get_rng_state())


def part(train, yardstick):
    return Stored({}, {"train": train, "predict": 0.0, "calibration_s": yardstick})


def test_blocks_of_two_machines_add_up_in_multiples():
    parts = [part(2.0, 0.01), part(6.0, 0.03)]
    multiples = 2.0 / 0.01 + 6.0 / 0.03
    assert 8.0 / _yardstick(parts) == pytest.approx(multiples)
    assert _yardstick([part(0.0, 0.02)]) == 0.02


def test_a_block_without_one_leaves_it_unknown():
    assert _yardstick([part(2.0, 0.01), part(2.0, None)]) is None
