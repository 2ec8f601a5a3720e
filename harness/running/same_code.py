"""Whether this process has the code that evidence is named after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.running.plan import make_plan

if TYPE_CHECKING:
    from harness.plugins.registry import Registry
    from harness.results.cells import Cell, Plan


def has_other_code(plan: Plan, cell: Cell, registry: Registry, device: str) -> bool:
    """Whether this process has imported other code than the key of the cell's evidence names."""
    return made_again(plan, cell, registry, device).key != cell.key


def made_again(plan: Plan, cell: Cell, registry: Registry, device: str) -> Cell:
    """The cell as this process plans it: its keys name the code that this process has."""
    wanted = cell.label if registry.defenses.claims(cell.name) else cell.defense
    assert wanted is not None
    (again,) = make_plan(
        registry,
        [wanted],
        plan.dataset,
        threats=plan.threats,
        alpha=cell.alpha,
        seed=cell.seed,
        device=device,
        token=plan.token,
    ).cells
    return again
