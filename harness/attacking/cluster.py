"""Attacks that the workers of a Dask cluster carry out, many at once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import cloudpickle
from distributed import Client, KilledWorker, as_completed

from harness.attacking.assault import Assault, Order, Outcome, made_attacks
from harness.attacking.joint import Joint, Shape, Tried
from harness.attacking.victim import Victim
from harness.errors import ClusterError, HarnessError
from harness.running.cluster import on_worker
from harness.running.containment import CellLog, contained
from harness.running.quiet import Quiet
from harness.threats import Threat

if TYPE_CHECKING:
    from harness.results.cells import Cell

_GRACE = 30.0
"""Seconds, at least, for which attacks that are under way when time is over are waited for: workers
know when it is, and only a training that has begun is carried to its end."""
_assaults: dict[tuple[str, str], Assault] = {}
"""In a worker: what it attacks, by the run and the cell's label. Features are made once."""
_joints: dict[tuple[str, str, Threat], Joint] = {}
"""The one that it attacks all at once, under which threat."""


@dataclass
class There:
    """The workers of ``client``'s cluster, which have what the run's cells have in common."""

    client: Client
    supply: on_worker.Supply
    _sent: dict[str, bytes] = field(default_factory=dict)

    def carry_out(
        self,
        cell: Cell,
        aimed: Sequence[Order],
        beside: Sequence[Order],
        orders: Sequence[Order],
        seconds: float,
        probing: float,
    ) -> Iterator[list[Outcome]]:
        """What comes of the adaptive attack on the test examples ``aimed`` at, which takes
        ``probing`` seconds at most, and of all ``orders``: as each is done, until time is over.

        Raises ClusterError where the cluster is lost or an attack kills its workers.
        """
        sent = self._sent.setdefault(cell.label, cloudpickle.dumps(cell))
        ends = time.time() + seconds
        futures = []
        if aimed:
            until = time.time() + probing
            arguments = (list(aimed), list(beside), until)
            futures.append(self._submit(_probe, sent, *arguments, priority=1))
        futures += [self._submit(_attack, sent, order, ends) for order in orders]
        yield from self._done(futures, cell.label, ends - time.time() + max(_GRACE, seconds))

    def carry_out_joint(
        self,
        cell: Cell,
        threat: Threat,
        wanted: tuple[str, ...],
        shapes: Sequence[Shape],
        r: int,
        seconds: float,
    ) -> list[Tried]:
        """What layouts of a joint attack of size ``r`` come to: as many of them as time allows, and
        one in any case. Raises ClusterError as :meth:`carry_out`.
        """
        sent = self._sent.setdefault(cell.label, cloudpickle.dumps(cell))
        arguments = sent, threat, wanted

        def tried(some: Sequence[Shape], ends: float) -> list[Tried]:
            futures = [self._submit(_joint, *arguments, shape, r, ends) for shape in some]
            return list(self._done(futures, cell.label))

        found = tried(shapes, time.time() + seconds)
        left = [one.shape for one in found if one.ended]
        while left and not any(one.poisoning is not None for one in found):
            found += tried([left.pop(0)], float("inf"))
        return found

    def _done(
        self, futures: Sequence[Any], label: str, seconds: float | None = None
    ) -> Iterator[Any]:
        """The results, as they are there, until time is over."""
        try:
            for future in as_completed(futures, timeout=seconds):
                yield future.result()
        except TimeoutError:
            return
        except KilledWorker as error:
            raise ClusterError(f"an attack on {label} ended its workers: {error}") from None
        except (OSError, RuntimeError) as error:
            raise ClusterError(f"the cluster was lost: {error}") from None
        finally:
            self.client.cancel(futures)

    def _submit(self, function: Any, sent: bytes, *arguments: Any, priority: int = 0) -> Any:
        return self.client.submit(
            function, self.supply.name, sent, *arguments, pure=False, priority=priority
        )


def _attack(supply: str, sent: bytes, order: Order, ends: float) -> list[Outcome]:
    left = ends - time.time()
    if left <= 0:
        return []
    with on_worker._one_at_a_time, contained(CellLog()):
        return [_assault(supply, sent).carry_out(replace(order, seconds=left))]


def _probe(
    supply: str, sent: bytes, aimed: list[Order], beside: list[Order], ends: float
) -> list[Outcome]:
    with on_worker._one_at_a_time, contained(CellLog()):
        return _assault(supply, sent).probe(aimed, beside, max(0.0, ends - time.time()))


def _joint(
    supply: str,
    sent: bytes,
    threat: Threat,
    wanted: tuple[str, ...],
    shape: Shape,
    r: int,
    ends: float,
) -> Tried:
    with on_worker._one_at_a_time, contained(CellLog()):
        left = ends - time.time()
        if left <= 0:
            return Tried(shape, ended=True)
        assault = _assault(supply, sent)
        key = supply, assault.victim.cell.label, threat
        if key not in _joints:
            _joints.clear()  # threats come one after another; each has its models' votes
            _joints[key] = Joint(assault.victim, threat, assault.attacks, wanted)
        return _joints[key].carry_out(shape, r, time.monotonic() + left)


def _assault(supply: str, sent: bytes) -> Assault:
    """What this worker attacks that cell with. Raises HarnessError where it has another one."""
    owner = on_worker._supplies.get(supply)
    if owner is None:
        raise HarnessError("this worker was not supplied with the run's data")
    cell = owner.cell(sent)
    key = supply, cell.label
    if key not in _assaults:
        here = owner.here(Quiet())
        registry = owner.registry()
        attacks, _ = made_attacks(registry)
        _assaults[key] = Assault(Victim(here.inputs, registry, cell), attacks)
    return _assaults[key]
