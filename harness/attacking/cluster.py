"""Attacks that the workers of a Dask cluster carry out, many at once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import cloudpickle
from distributed import Client, KilledWorker, as_completed

from harness.attacking.assault import Assault, Order, Outcome, made_attacks
from harness.attacking.victim import Victim
from harness.errors import ClusterError, HarnessError
from harness.running.cluster import on_worker
from harness.running.containment import CellLog, contained
from harness.running.quiet import Quiet

if TYPE_CHECKING:
    from harness.results.cells import Cell

_assaults: dict[tuple[str, str], Assault] = {}
"""In a worker: what it attacks, by the run and the cell's label. Features are made once."""


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
        try:
            for future in as_completed(futures, timeout=max(0.1, ends - time.time())):
                yield future.result()
        except TimeoutError:
            return
        except KilledWorker as error:
            raise ClusterError(f"an attack on {cell.label} ended its workers: {error}") from None
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
