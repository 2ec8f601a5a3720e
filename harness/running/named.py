"""The learner and the features that a defense's parameters name: spelt, checked, resolved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.errors import UnsuitableError, UsageError
from harness.features import spec as features_spec
from harness.features.base import AUTO
from harness.features.tensors import is_image
from harness.learners.spec import canonical, parse_spec
from harness.plugins.lookup import features_name, features_of, learner_of

if TYPE_CHECKING:
    from harness.defense import Defense, Shape
    from harness.plugins.registry import Registered, Registry


def spelt_once(defense: Defense[Any], registry: Registry) -> Defense[Any]:
    """The same, its learner and its features in one spelling, so that label and key do not follow
    how they were written: what means the default is spelt as the default.

    Raises UsageError for what is no learner, or no features.
    """
    changes = {}
    for key, spell in (("learner", _spelt_learner), ("features", _spelt_features)):
        field, spec = type(defense.params).model_fields.get(key), _named(defense, key)
        if field is None or spec is None or spec == field.default:
            continue
        changes[key] = spell(registry, spec)
        if isinstance(field.default, str) and changes[key] == spell(registry, field.default):
            changes[key] = field.default
    return type(defense)(defense.params.model_copy(update=changes)) if changes else defense


def _named(defense: Defense[Any], key: str) -> str | None:
    spec = getattr(defense.params, key, None)
    return spec if isinstance(spec, str) else None


def _spelt_learner(registry: Registry, spec: str) -> str:
    learner_of(registry, spec)
    return canonical(spec, registry.learners.values())


def _spelt_features(registry: Registry, spec: str) -> str:
    if features_spec.is_auto(spec):
        return AUTO
    name = features_spec.parse_spec(spec).name
    registry.features[name]  # its errors know of clashes and of broken plugins
    features_spec.resolve(spec, registry.features.values())
    return features_spec.canonical(spec, registry.features.values())


def resolved(defense: Defense[Any], shape: Shape, registry: Registry) -> Defense[Any]:
    """The same with the features that ``auto`` stands for on such data: what it is trained with,
    and what names its evidence.

    Raises UsageError where ``features`` were chosen that its learner, which sees images, would not
    use, and UnsuitableError where the data set does not suit the learner, the features or the
    defense. ``features`` and ``learner`` mean the same in every defense that has them.
    """
    learner, features = _named(defense, "learner"), _named(defense, "features")
    sees_images = learner is not None and learner_of(registry, learner).images
    if sees_images and features not in (AUTO, _default(defense, "features")):
        raise UsageError(
            f"{defense.name}: learner={learner} sees images and no features, so "
            f"features={features} is not allowed; leave features out"
        )
    try:
        if sees_images and not is_image(shape.example):
            raise UsageError(
                f"learner={learner} needs images (height, width) or (height, width, channels), "
                f"and an example here has shape {shape.example}"
            )
        if learner is not None and sees_images:
            learner_of(registry, learner).check(shape.example)
        if features is not None and not sees_images:
            features_of(registry, features, shape.example)
        defense.check(shape)
    except UsageError as error:
        raise UnsuitableError(str(error)) from None
    if features is None or sees_images:
        return defense
    name = features_name(registry, features, shape.example)
    return type(defense)(defense.params.model_copy(update={"features": name}))


def _default(defense: Defense[Any], key: str) -> Any:
    field = type(defense.params).model_fields.get(key)
    return field.default if field is not None else None


def distributions(defense: Defense[Any], registry: Registry) -> list[str]:
    """Those that bring its learner and its features, resolved; and the content of a network."""
    learner, features = _named(defense, "learner"), _named(defense, "features")
    entries: list[Registered[Any] | None] = []
    if learner is not None:
        entries.append(registry.learners.entries.get(parse_spec(learner).name))
    if features is not None:
        entries.append(registry.features.entries.get(features_spec.parse_spec(features).name))
    found = [entry.distribution for entry in entries if entry is not None]
    if features is not None and features != AUTO:
        content = features_spec.resolve(features, registry.features.values()).content()
        found += [f"weights {content}"] if content else []
    return found
