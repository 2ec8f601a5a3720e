"""Commands that are imported when they are called, so that ``harness --help`` is quick."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points

import click

from harness.errors import HarnessError

BUILT_IN = {
    "run": "Train, certify, compare: the paper's comparison without arguments.",
    "sweep": "Train and compare every combination of parameters: who proves most at which r.",
    "certify": "Certificates from votes that somebody else trained: no training.",
    "list": "What is installed: defenses, datasets, learners, features, threats.",
    "show": "One defense, dataset or learner: parameters, threats, paper.",
    "report": "Draw the report of a run again, or of several runs in one.",
    "doctor": "Versions, devices and plugins, and what is wrong with them.",
}


class LazyGroup(click.Group):
    """The ``harness`` program: built-in commands by name, others from plugins."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*BUILT_IN, *sorted(self._added(ctx))]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in BUILT_IN:
            module = importlib.import_module(f"harness.commands.{name}")
            command: click.Command = module.command
            return command
        return self._added(ctx).get(name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from harness.errors import unknown

        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            raise unknown("command", name, self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        added = self._added(ctx)
        rows = [*BUILT_IN.items(), *((n, c.get_short_help_str()) for n, c in added.items())]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def _added(self, ctx: click.Context) -> dict[str, click.Command]:
        """Commands of installed plugins; without any plugin, nothing is imported for this."""
        if not entry_points(group="harness"):
            return {}
        if "added" not in ctx.meta:
            from harness.plugins import PluginManager

            manager = PluginManager()
            manager.load(built_in=False)
            ctx.meta["added"] = {
                c.name: c for c in manager.commands() if c.name and c.name not in BUILT_IN
            }
        added: dict[str, click.Command] = ctx.meta["added"]
        return added

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except HarnessError as error:
            click.echo(f"harness: {error}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt as interrupt:
            advice = "".join(f"; {text}" for text in interrupt.args)
            click.echo(f"harness: interrupted{advice}", err=True)
            ctx.exit(130)
