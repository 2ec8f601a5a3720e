"""A plugin that misbehaves in every way that the harness has to stand."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from harness import hookimpl
from harness.certificates import DETERMINISTIC, ESTIMATE, AccuracyCertificate, PointwiseCertificate
from harness.defense import Defense, Parameters, even_blocks
from harness.threats import Threat


def swallow():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        try:
            time.sleep(1000)
        except BaseException:
            continue


def write():
    print("from print")
    sys.stderr.write("from stderr\n")
    os.write(1, b"from below\n")
    subprocess.run(["echo", "from a child"], check=True)


def leave_behind(path):
    Path(path).write_text(str(subprocess.Popen(["sleep", "1000"]).pid))
    time.sleep(1000)


def interrupt():
    raise KeyboardInterrupt


def wait_for(path):
    Path(path).with_suffix(".pid").write_text(str(os.getpid()))
    while not Path(path).exists():
        time.sleep(0.01)


WAYS = {
    "nothing": lambda: None,
    "regex": lambda: re.match(r"(a+)+$", "a" * 60 + "b"),
    "swallow": swallow,
    "leave": lambda: os._exit(7),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "write": write,
    "interrupt": interrupt,
    "leave_behind": leave_behind,
    "wait_for": wait_for,
    "close_all": lambda: os.closerange(3, 1000),
}


class RascalParameters(Parameters):
    does: str = "nothing"
    path: str = ""
    n_models: int = 1
    bound: bool = False


class Rascal(Defense):
    """Misbehaves in its last block, one way or the other."""

    name = "rascal"
    title = paper = "rascal"
    Params = RascalParameters

    def covers(self):
        return frozenset({Threat.ANY})

    def blocks(self, shape, lookup):
        return even_blocks(self.params.n_models, 1)

    def gather(self, task):
        if task.models.stop == self.params.n_models:
            WAYS[self.params.does](*filter(None, [self.params.path]))
        self.kept = lambda: None  # cannot be sent anywhere
        votes = task.rng().integers(0, 2, (task.shape.n_test, 2))
        return {"votes": votes}

    def certify(self, evidence, threat, alpha):
        votes = evidence["votes"]
        if self.params.bound:
            p = (votes + 1) / (votes + 1).sum(1, keepdims=True)
            return AccuracyCertificate(
                "bound", threat, ESTIMATE, p, lambda q, r: max(0.0, float(q.mean()) - r / 10)
            )
        gap = np.abs(votes[:, 0] - votes[:, 1])
        return PointwiseCertificate("gap", threat, DETERMINISTIC, votes.argmax(1), gap)


@hookimpl
def harness_register_defenses():
    return [Rascal]
