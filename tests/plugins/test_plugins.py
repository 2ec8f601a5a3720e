from collections.abc import Iterable
from importlib.metadata import EntryPoint
from types import SimpleNamespace
from typing import Any

import click
import pytest

from harness import hookimpl
from harness.defenses.bagging import Bagging
from harness.errors import UsageError
from harness.features.base import Features
from harness.features.raw import Raw
from harness.plugins.registry import PluginManager, Registry


class Mine(Bagging):
    name = "mine"


class Thumbnail(Raw):
    name = "thumbnail"
    summary = "a small image"


class Partial(Features):
    name = "partial"
    summary = "half a class"


class Auto(Raw):
    name = "auto"


def plugin(**hooks: Any) -> SimpleNamespace:
    return SimpleNamespace(**{name: hookimpl(hook) for name, hook in hooks.items()})


def registry_with(*plugins: tuple[object, str, str], built_in: bool = True) -> Registry:
    manager = PluginManager()
    manager.load(built_in=built_in, installed=[])
    for one in plugins:
        manager.register(*one)
    return manager.registry()


def test_the_built_ins_come_through_the_same_hooks() -> None:
    registry = registry_with()
    assert {"bagging", "dp", "label-flip", "feature-flip"} <= set(registry.defenses.entries)
    assert {"mnist17", "mnist", "npz"} <= set(registry.datasets.entries)
    assert {"ridge", "logistic", "cnn", "pipeline"} <= set(registry.learners.entries)
    assert {"raw", "binarised", "hog", "pretrained"} == set(registry.features.entries)
    assert registry.problems == ()
    assert registry_with(built_in=False).defenses.entries == {}


def test_a_plugin_registers_a_defense_with_its_distribution() -> None:
    own = plugin(harness_register_defenses=lambda: [Mine])
    entry = registry_with((own, "mine", "mine-plugin 1.0")).defenses["mine"]
    assert (entry.value, entry.distribution) == (Mine, "mine-plugin 1.0")


def test_a_plugin_registers_features_with_its_distribution() -> None:
    own = plugin(harness_register_features=lambda: [Thumbnail])
    registry = registry_with((own, "thumb", "thumb-plugin 1.0"))
    entry = registry.features["thumbnail"]
    assert (entry.value, entry.distribution) == (Thumbnail, "thumb-plugin 1.0")
    with pytest.raises(UsageError, match=r"unknown features 'x'; Allowed: auto, .*thumbnail"):
        registry.features["x"]
    said = str(registry.unknown("thumbnial"))
    assert (
        "unknown defense, dataset, learner, features or attack 'thumbnial'; did you mean thumb"
        in said
    )


def test_features_whose_name_is_taken_belong_to_neither() -> None:
    class Rival(Raw):
        name = "hog"

    own = plugin(harness_register_features=lambda: [Rival])
    registry = registry_with((own, "rival", "rival-plugin 2.0"))
    with pytest.raises(UsageError, match=r"the features 'hog' is registered by .* and by rival-"):
        registry.features["hog"]


def test_a_name_taken_twice_is_an_error_that_names_both() -> None:
    class Rival(Bagging):
        name = "bagging"

    rival = plugin(harness_register_defenses=lambda: [Rival, Mine])
    registry = registry_with((rival, "rival", "rival-plugin 2.0"))
    with pytest.raises(UsageError) as caught:
        registry.defenses["bagging"]
    assert "poisoning-harness" in str(caught.value)
    assert "rival-plugin 2.0" in str(caught.value)
    assert registry.defenses["mine"].value is Mine


def test_a_plugin_that_does_not_import_is_kept_with_its_error() -> None:
    manager = PluginManager()
    manager.load(installed=[EntryPoint("lost", "no_such_module_at_all", "harness")])
    registry = manager.registry()
    problem = registry.broken("lost")
    assert problem is not None
    assert "ModuleNotFoundError: No module named 'no_such_module_at_all'" in problem.error
    with pytest.raises(UsageError, match=r"unknown defense 'x'.*plugin lost .*no_such_module"):
        registry.defenses["x"]
    assert "bagging" in registry.defenses.entries


def raising() -> Iterable[Any]:
    raise RuntimeError("out of\norder")


@pytest.mark.parametrize(
    ("hooks", "message"),
    [
        ({"harness_register_defenses": raising}, "RuntimeError: out of order"),
        ({"harness_register_defenses": lambda: [int]}, "is not a subclass of harness.defense"),
        ({"harness_register_defenses": lambda: [Mine(Mine.Params())]}, "is not a subclass of"),
        ({"harness_register_datasets": lambda: [object()]}, "has no name and no summary"),
        ({"harness_register_learners": lambda: None}, "TypeError"),
        ({"harness_register_features": lambda: [Raw()]}, "is not a subclass of harness.features"),
        ({"harness_register_features": lambda: [Features]}, "Features has no name"),
        ({"harness_register_features": lambda: [Partial]}, "Partial lacks count, rows"),
        ({"harness_register_features": lambda: [Auto]}, "the name 'auto' stands for what fits"),
        ({"harness_register_defences": lambda: [Mine]}, "unknown hook 'harness_register_defences'"),
    ],
)
def test_a_plugin_that_misbehaves_is_listed_and_harms_no_other(
    hooks: dict[str, Any], message: str
) -> None:
    good = plugin(harness_register_defenses=lambda: [Mine])
    registry = registry_with((plugin(**hooks), "bad", "bad 0.1"), (good, "good", "good 1.0"))
    assert [p.plugin for p in registry.problems] == ["bad"]
    assert message in str(registry.problems[0])
    assert {"mine", "bagging"} <= set(registry.defenses.entries)


def test_a_plugin_adds_commands() -> None:
    @click.command()
    def hello() -> None:
        """Says hello."""

    manager = PluginManager()
    manager.load(built_in=False, installed=[])
    manager.register(plugin(harness_add_commands=lambda: [hello]), "greeter", "greeter 1.0")
    assert manager.commands() == [hello]


def command(name: str) -> click.Command:
    return click.Command(name)


def test_a_command_whose_name_is_taken_is_dropped_and_said_to_be() -> None:
    mine, ours, theirs = command("mine"), command("shared"), command("shared")
    one = plugin(harness_add_commands=lambda: [command("run"), mine, ours])
    two = plugin(harness_add_commands=lambda: [theirs])
    manager = PluginManager()
    manager.load(built_in=False, installed=[])
    manager.register(one, "one", "one 1.0")
    manager.register(two, "two", "two 2.0")
    assert manager.commands() == [mine]
    said = [str(problem) for problem in manager.problems]
    assert "plugin one (one 1.0)" in said[0]
    assert "the command 'run' is built in; choose another name" in said[0]
    assert "command 'shared' (" in said[1]
    assert "more than one plugin adds it, so none can be used" in said[1]
    registry = registry_with((one, "one", "one 1.0"), (two, "two", "two 2.0"))
    assert {str(problem) for problem in registry.problems} >= {said[0]}
