"""Commands that are imported when they are called, so that ``harness --help`` is quick."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import Any

import click

from harness.cli.outcome import one_line
from harness.plugins.verbs import BUILT_IN


class LazyGroup(click.Group):
    """The ``harness`` program: built-in commands by name, others from plugins."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*BUILT_IN, *sorted(self._added(ctx))]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in BUILT_IN:
            module = importlib.import_module(f"harness.cli.{name.replace('-', '_')}")
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
            from harness.plugins.registry import PluginManager

            manager = PluginManager()
            manager.load(built_in=False)
            ctx.meta["added"] = {c.name: c for c in manager.commands() if c.name}
            for problem in manager.problems:
                click.echo(f"harness: {problem}", err=True)
        added: dict[str, click.Command] = ctx.meta["added"]
        return added

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        with one_line():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> object:
        with one_line():
            return super().invoke(ctx)
