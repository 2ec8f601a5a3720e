import subprocess
import sys

import pluggy

from harness import datasets, hookspecs


def test_the_sources_come_through_the_hook():
    manager = pluggy.PluginManager("harness")
    manager.add_hookspecs(hookspecs)
    manager.register(datasets)
    (sources,) = manager.hook.harness_register_datasets()
    assert {s.name: s.takes_argument for s in sources} == {
        "mnist17": False,
        "mnist": False,
        "fashion-mnist": False,
        "cifar10": False,
        "npz": True,
        "npy": True,
        "csv": True,
        "parquet": True,
        "sklearn": True,
    }
    assert all(s.summary and "\n" not in s.summary for s in sources)


def test_registering_imports_nothing_heavy(tmp_path):
    program = (
        "import sys; from harness.datasets import harness_register_datasets as h; h();"
        "print([m for m in ('torch', 'torchvision', 'pandas') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
