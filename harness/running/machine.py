"""The device that trains, and the memory that it takes."""

from __future__ import annotations

import resource
import sys
from typing import Any

from harness.errors import UsageError


def choose_device(name: str) -> Any:
    """The torch device of that name. Raises UsageError for one that is not there."""
    import torch

    try:
        if not isinstance(name, str | torch.device):  # torch takes a number for a GPU
            raise TypeError
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise UsageError(f"unknown device {name!r}; allowed: cpu, cuda, cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device {name!r} is not supported; allowed: cpu, cuda, cuda:N")
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if count == 0:
            raise UsageError(f"device {name!r} is not there: torch finds no GPU; allowed: cpu")
        if (device.index or 0) >= count:
            raise UsageError(
                f"device {name!r} is not there; allowed: cpu, cuda:0 to cuda:{count - 1}"
            )
    return device


def free_memory() -> int | None:
    """The bytes that this process can still be given; None where the system does not say (any but
    Linux).
    """
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


class PeakMemory:
    """The most memory that this process has used since :meth:`reset`, in MB.

    Where the system cannot reset its own record (any but Linux), the peak is the process's.
    """

    def reset(self) -> None:
        try:
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")
        except OSError:
            pass

    def megabytes(self) -> float:
        try:
            with open("/proc/self/status") as file:
                for line in file:
                    if line.startswith("VmHWM:"):
                        return int(line.split()[1]) / 1024
        except OSError:
            pass
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (1024**2 if sys.platform == "darwin" else 1024)
