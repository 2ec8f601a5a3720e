"""Finding plugins: the built-ins and what is installed under the entry-point group ``harness``."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pluggy

from harness import __version__, hookspecs
from harness.errors import DataError, HarnessError, UsageError, unknown
from harness.plugins.selection import NAME, NAMED

if TYPE_CHECKING:
    from click import Command

    from harness.attacks.base import Attack
    from harness.datasets.base import Dataset, DatasetSource
    from harness.defense import Defense
    from harness.features.base import Features
    from harness.learners.base import Learner

GROUP = "harness"
_BUILT_IN = tuple(
    f"harness.{room}" for room in ("defenses", "datasets", "learners", "features", "attacks")
)
_OWN = f"poisoning-harness {__version__}"

T = TypeVar("T")


@dataclass(frozen=True)
class Registered(Generic[T]):
    """Something that a plugin brought, and the distribution that it came from."""

    value: T
    distribution: str


@dataclass(frozen=True)
class Problem:
    """A plugin, or a part of one, that cannot be used, and why."""

    plugin: str
    distribution: str
    error: str

    def __str__(self) -> str:
        return f"plugin {self.plugin} ({self.distribution}): {self.error}"


@dataclass(frozen=True)
class Catalogue(Generic[T]):
    """Things by their name; a name that two plugins claim belongs to neither."""

    kind: str
    entries: Mapping[str, Registered[T]]
    clashes: Mapping[str, tuple[str, ...]]
    problems: tuple[Problem, ...]
    others: tuple[str, ...] = ()
    """Names that are allowed where one of these is, and that nobody registers."""

    def __getitem__(self, name: str) -> Registered[T]:
        """The entry of that name. Raises UsageError: unknown, claimed twice, or plugin broken."""
        if name in self.clashes:
            raise UsageError(
                f"the {self.kind} {name!r} is registered by {' and by '.join(self.clashes[name])}; "
                "uninstall one of them"
            )
        if name not in self.entries:
            allowed = [*self.others, *self.entries]
            raise _unknown(self.kind, name, allowed, self.problems)
        return self.entries[name]

    def claims(self, name: str) -> bool:
        """Whether any plugin registers that name."""
        return name in self.entries or name in self.clashes

    def values(self) -> dict[str, T]:
        """Name to thing, in the order of registration."""
        return {name: entry.value for name, entry in self.entries.items()}


@dataclass(frozen=True)
class Registry:
    """Everything that plugins registered."""

    defenses: Catalogue[type[Defense[Any]]]
    datasets: Catalogue[DatasetSource]
    learners: Catalogue[type[Learner]]
    features: Catalogue[type[Features]]
    attacks: Catalogue[type[Attack]]
    problems: tuple[Problem, ...]

    @property
    def catalogues(self) -> tuple[Catalogue[Any], ...]:
        """All of them."""
        return self.defenses, self.datasets, self.learners, self.features, self.attacks

    def unknown(self, name: str) -> UsageError:
        """The error for what nothing is called, with the broken plugins: it may be theirs."""
        names = [name for catalogue in self.catalogues for name in catalogue.entries]
        return _unknown("defense, dataset, learner, features or attack", name, names, self.problems)

    def broken(self, name: str) -> Problem | None:
        """The plugin of that entry-point name, if it could not be loaded."""
        return next((p for p in self.problems if p.plugin == name), None)


class PluginManager:
    """Loads plugins one by one, so that a broken one is reported and harms no other."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._problems: list[Problem] = []

    def load(self, *, built_in: bool = True, installed: Iterable[EntryPoint] | None = None) -> None:
        """Registers the built-ins and the installed entry points (those of ``GROUP``)."""
        if built_in:
            for module in _BUILT_IN:
                self.register(importlib.import_module(module), module, _OWN)
        for entry in entry_points(group=GROUP) if installed is None else installed:
            distribution = _distribution(entry)
            try:
                plugin = entry.load()
            except (Exception, SystemExit) as error:
                self._problem(entry.name, distribution, error)
            else:
                self.register(plugin, entry.name, distribution)

    def register(self, plugin: object, name: str, distribution: str) -> None:
        """Registers one plugin; what is wrong with it is kept among the problems."""
        unique = f"{distribution}:{name}"
        try:
            self._manager.register(plugin, unique)
            self._manager.check_pending()  # a hook that does not exist is a misspelt one
        except Exception as error:
            if self._manager.get_plugin(unique) is not None:
                self._manager.unregister(name=unique)
            self._problem(name, distribution, error)

    def registry(self) -> Registry:
        """Asks every plugin what it has."""
        from harness.defense import Defense
        from harness.features.base import AUTO
        from harness.learners.base import Learner

        defenses = self._collect(
            "defense", "harness_register_defenses", _subclass_of(Defense, "title", "paper")
        )
        datasets = self._collect("dataset", "harness_register_datasets", _source)
        learners = self._collect(
            "learner", "harness_register_learners", _subclass_of(Learner, "summary")
        )
        features = self._collect("features", "harness_register_features", _features)
        attacks = self._collect("attack", "harness_register_attacks", _attack)
        self.commands()  # for what is wrong with them
        return Registry(
            Catalogue(*defenses, self.problems),
            Catalogue(*datasets, self.problems),
            Catalogue(*learners, self.problems),
            Catalogue(*features, self.problems, others=(AUTO,)),
            Catalogue(*attacks, self.problems),
            self.problems,
        )

    def commands(self) -> list[Command]:
        """The commands that plugins add, without those whose name is taken."""
        _, single, clashes = self._collect("command", "harness_add_commands", _command)
        for name, owners in clashes.items():
            why = "more than one plugin adds it, so none can be used"
            self._problems.append(Problem(f"command {name!r}", " and ".join(owners), why))
        return [entry.value for entry in single.values()]

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What was found to be wrong with plugins so far."""
        return tuple(self._problems)

    def _collect(
        self, kind: str, hook: str, check: Callable[[Any], str | None]
    ) -> tuple[str, dict[str, Registered[Any]], dict[str, tuple[str, ...]]]:
        claimed: dict[str, list[Registered[Any]]] = {}
        for distribution, item in self._ask(hook, check):
            claimed.setdefault(item.name, []).append(Registered(item, distribution))
        single = {name: found[0] for name, found in claimed.items() if len(found) == 1}
        clashes = {
            name: tuple(entry.distribution for entry in found)
            for name, found in claimed.items()
            if len(found) > 1
        }
        return kind, single, clashes

    def _ask(self, hook: str, check: Callable[[Any], str | None]) -> Iterable[tuple[str, Any]]:
        # One implementation after another, so that it is known whose answer fails.
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            distribution, name = implementation.plugin_name.rsplit(":", 1)
            try:
                items = list(implementation.function())
            except (Exception, SystemExit) as error:
                self._problem(name, distribution, error)
                continue
            for item in items:
                wrong = check(item)
                if wrong:
                    self._problem(name, distribution, TypeError(f"{hook}: {wrong}"))
                else:
                    yield distribution, item

    def _problem(self, name: str, distribution: str, error: BaseException) -> None:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        self._problems.append(Problem(name, distribution, text))


def _unknown(
    kind: str, name: str, allowed: Iterable[str], problems: Iterable[Problem]
) -> UsageError:
    broken = "".join(f"; {problem}" for problem in problems)
    return UsageError(f"{unknown(kind, name, allowed)}{broken}")


def load_registry() -> Registry:
    """The registry of the built-ins and of everything installed."""
    manager = PluginManager()
    manager.load()
    return manager.registry()


def load_dataset(registry: Registry, spec: str, data_root: Path | None) -> Dataset:
    """The data set ``NAME`` or ``NAME:ARGUMENT``. Raises UsageError, DataError."""
    from harness.datasets.base import load

    registry.datasets[spec.partition(":")[0]]
    try:
        return load(spec, registry.datasets.values(), data_root)
    except (HarnessError, MemoryError):
        raise
    except Exception as error:  # of a plugin
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"the dataset {spec} cannot be loaded: {text}") from error


def _distribution(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value


def _subclass_of(base: type, *texts: str) -> Callable[[Any], str | None]:
    """A check of classes: subclasses of ``base``, complete, with a name and those other texts."""

    def check(item: Any) -> str | None:
        if not (isinstance(item, type) and issubclass(item, base)):
            return f"{item!r} is not a subclass of {base.__module__}.{base.__name__}"
        for text in ("name", *texts):
            if not isinstance(getattr(item, text, None), str):
                return f"{item.__qualname__} has no {text}"
        name = str(getattr(item, "name", ""))
        if NAME.fullmatch(name) is None:
            return f"{item.__qualname__} is called {name!r}; {NAMED}"
        missing = getattr(item, "__abstractmethods__", None)
        return f"{item.__qualname__} lacks {', '.join(sorted(missing))}" if missing else None

    return check


def _features(item: Any) -> str | None:
    from harness.features.base import AUTO, Features

    taken = getattr(item, "name", None) == AUTO
    wrong = f"the name {AUTO!r} stands for what fits the data; choose another" if taken else None
    return _subclass_of(Features, "summary")(item) or wrong


def _attack(item: Any) -> str | None:
    from harness.attacks.base import Attack
    from harness.attacks.names import ADAPTIVE, OWN
    from harness.threats import Threat

    wrong = _subclass_of(Attack, "summary")(item)
    if wrong:
        return wrong
    meant = {OWN: "a defense's own attack", ADAPTIVE: "the attack that watches any defense"}
    if item.name in meant:
        return f"the name {item.name!r} stands for {meant[item.name]}; choose another"
    threats = item.threats
    if not isinstance(threats, set | frozenset) or not all(isinstance(t, Threat) for t in threats):
        return f"{item.__qualname__} has threats {threats!r}; wanted a set of Threat"
    return None


def _command(item: Any) -> str | None:
    import click

    from harness.plugins.verbs import BUILT_IN

    if not isinstance(item, click.Command) or not item.name:
        return f"{item!r} is no command"
    taken = item.name in BUILT_IN
    return f"the command {item.name!r} is built in; choose another name" if taken else None


def _source(item: Any) -> str | None:
    missing = [a for a in ("name", "summary", "takes_argument", "load") if not hasattr(item, a)]
    return f"{item!r} has no {' and no '.join(missing)}" if missing else None
