"""``harness doctor``: versions, devices and plugins, and what is wrong with them."""

from __future__ import annotations

import click

_EPILOG = """\b
Example:
  harness doctor
"""


@click.command(epilog=_EPILOG)
def command() -> None:
    """Versions, devices and plugins, and what is wrong with them.

    Exit code 0 if everything can be used, 3 if something cannot.
    """
    import torch

    from harness.errors import HarnessError
    from harness.plugins.registry import load_dataset, load_registry
    from harness.results import provenance
    from harness.results.store import store_path

    wrong: list[str] = []
    for name, found in provenance.versions().items():
        click.echo(f"{name:18} {found}")
        if found == "not installed":
            wrong.append(f"{name} is not installed")
    for name, value in provenance.machine().items():
        click.echo(f"{name:18} {value}")
    click.echo(f"{'threads':18} {torch.get_num_threads()}")
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    click.echo(f"{'gpus':18} {', '.join(gpus) or 'none (not needed)'}")
    try:
        click.echo(f"{'store':18} {store_path() or 'off'}")
    except HarnessError as error:
        wrong.append(str(error))
    registry = load_registry()
    for catalogue in registry.catalogues:
        click.echo(f"{catalogue.kind.removesuffix('s') + 's':18} {', '.join(catalogue.entries)}")
        for name, owners in catalogue.clashes.items():
            wrong.append(f"{catalogue.kind} {name!r} is registered by {' and by '.join(owners)}")
    wrong += [str(problem) for problem in registry.problems]
    try:
        data = load_dataset(registry, "mnist17", None)
        click.echo(f"{'mnist17':18} {data.n_train:,} + {data.n_test:,} examples, as published")
    except HarnessError as error:
        wrong.append(str(error))
    for line in wrong:
        click.echo(f"WRONG: {line}")
    if wrong:
        raise SystemExit(3)
    click.echo("everything can be used")
