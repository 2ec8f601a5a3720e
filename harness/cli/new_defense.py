"""``harness new-defense NAME``: a plugin project that works, to start from."""

from __future__ import annotations

from pathlib import Path

import click

_EPILOG = """\b
Examples:
  harness new-defense my-defense
  harness new-defense my-defense --output plugins/mine
"""


@click.command(epilog=_EPILOG)
@click.argument("name")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the project goes: a new or empty folder. [default: ./NAME]",
)
def command(name: str, output: Path | None) -> None:
    """A plugin project with a defense that works, and its tests.

    NAME is what the defense is called on the command line: small letters, digits and dashes.
    """
    from shlex import quote

    from harness.plugins.registry import load_registry
    from harness.plugins.verbs import BUILT_IN
    from harness.scaffold import check_free, parse_name, write_project

    parsed = parse_name(name)
    check_free(parsed, load_registry(), list(BUILT_IN))
    folder = Path(name) if output is None else output
    written = write_project(parsed, folder)
    click.echo(f"{name}: a plugin project in {folder}")
    for path in written:
        click.echo(f"  {path}")
    run = f"harness run -d {name} -d bagging"
    click.echo("\nNext:")
    click.echo(f"  cd {quote(str(folder))}")
    click.echo('  python -m pip install -e ".[test]"')
    click.echo(f"  {run}   # beside another defense")
    click.echo(f"  {'pytest':{len(run)}}   # is it sound?")
    click.echo(f"\nThen put your idea into gather and certify, in {written[0]}.")
