"""Defenses that claim more than holds, for all tests of attacks."""

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def unsound():
    """The module of defenses that claim more than holds."""
    path = Path(__file__).with_name("unsound.py")
    spec = importlib.util.spec_from_file_location("unsound", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["unsound"] = module
    spec.loader.exec_module(module)
    return module
