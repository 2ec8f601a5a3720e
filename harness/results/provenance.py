"""Where a result comes from: versions, kind of machine, git commit."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_PACKAGES = (
    "poisoning-harness",
    "torch",
    "torchvision",
    "opacus",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
)


def versions() -> dict[str, str]:
    """Python's version and those of the packages that compute."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def machine() -> dict[str, Any]:
    """What kind of machine this is: nothing that names it."""
    return {
        "system": platform.system(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
    }


def device_name(device: torch.device) -> str:
    """The device as the manifest names it: a GPU with its model."""
    import torch

    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)


def fingerprint(device: torch.device) -> str:
    """Twelve hexadecimal digits for the kind of machine: equal where seconds can be compared.

    Same system, processor, number of cores, device and threads.
    """
    import torch

    kind = [platform.system(), _processor(), os.cpu_count(), device_name(device)]
    text = json.dumps([*kind, torch.get_num_threads()])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def git() -> dict[str, Any]:
    """The commit of the working directory and whether it has changes; nulls outside of git."""
    try:
        commit = _git("rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
