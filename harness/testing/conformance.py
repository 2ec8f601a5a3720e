"""The conformance suite: every property, as one call or as one test each."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from harness.errors import UsageError
from harness.testing import (
    attacks,
    certificates,
    confidence,
    isolation,
    parameters,
    training,
)
from harness.testing.bench import Bench, make_bench
from harness.testing.judging import Report, failure_of, judge
from harness.testing.properties import Property
from harness.testing.verdicts import ConformanceError
from harness.threats import Threat

if TYPE_CHECKING:
    from harness.datasets.base import Dataset
    from harness.defense import Defense
    from harness.plugins.registry import Registry

PROPERTIES = (
    parameters.parameters_can_be_read_and_typed,
    parameters.threats_are_declared,
    training.training_can_be_repeated,
    training.evidence_is_plain,
    certificates.predictions_and_radii,
    training.blocks_can_be_trained_in_any_order,
    training.more_base_models_go_on_from_fewer,
    training.order_of_test_examples_does_not_matter,
    training.what_only_certify_reads_trains_nothing,
    training.edge_shapes_work,
    isolation.isolation,
    certificates.certified_accuracy_falls,
    certificates.weaker_attacker_never_certifies_less,
    certificates.larger_alpha_never_certifies_less,
    certificates.alpha_means_what_the_guarantee_says,
    confidence.alpha_covers_as_many_examples_as_the_guarantee_says,
    certificates.certify_is_pure,
    attacks.every_training_set_is_answered,
    *attacks.ATTACKS.values(),
)
"""All of them; what makes others fail comes before them."""


def check_defense(
    defense: type[Defense[Any]] | Defense[Any] | str,
    *,
    dataset: Dataset | None = None,
    registry: Registry | None = None,
) -> Report:
    """Trains and certifies a defense on a tiny data set and checks every property of a sound one.

    ``defense`` is a class, an instance or a selection such as ``bagging[k=5]``. An instance is
    tried as it is; otherwise ``n_models`` and ``k`` are lowered unless they were chosen. Without
    ``dataset`` it is :func:`~harness.testing.tiny_dataset`: 48 images in two labels. ``registry``
    holds the learners that the defense may name; by default all that are installed.

    Raises ConformanceError that explains all that is wrong: which property, by which example, what
    it protects and what is usually the cause. Raises UsageError where the defense does not accept
    the data set.
    """
    return judge(PROPERTIES, make_bench(defense, dataset, registry), "a sound defense")


def _test(prop: Property) -> Callable[[DefenseConformance], None]:
    """A test method for a property, with the property's own docstring."""

    def test(self: DefenseConformance) -> None:
        __tracebackhide__ = True  # pytest then shows the explanation and not this line
        try:
            bench = self._bench()
        except UsageError as error:
            raise ConformanceError(f"nothing could be tried: {error}") from None
        failure = failure_of(prop, bench)
        if failure is not None:
            raise ConformanceError(f"{bench.label}: {failure}")

    test.__doc__ = prop.check.__doc__
    return test


class DefenseConformance:
    """Inherit it in a test file, name the class ``Test...`` and set ``defense``; that is all.

    Each property is a test of its own. ``defense``, ``dataset`` and ``registry`` are as in
    :func:`check_defense`.
    """

    defense: ClassVar[type[Defense[Any]] | Defense[Any] | str]
    dataset: ClassVar[Dataset | None] = None
    registry: ClassVar[Registry | None] = None

    test_parameters = _test(parameters.parameters_can_be_read_and_typed)
    test_threats = _test(parameters.threats_are_declared)
    test_repeatable = _test(training.training_can_be_repeated)
    test_evidence = _test(training.evidence_is_plain)
    test_predictions_and_radii = _test(certificates.predictions_and_radii)
    test_blocks = _test(training.blocks_can_be_trained_in_any_order)
    test_more_base_models = _test(training.more_base_models_go_on_from_fewer)
    test_order_of_test_examples = _test(training.order_of_test_examples_does_not_matter)
    test_certify_fields = _test(training.what_only_certify_reads_trains_nothing)
    test_edge_shapes = _test(training.edge_shapes_work)
    test_isolation = _test(isolation.isolation)
    test_certified_accuracy_falls = _test(certificates.certified_accuracy_falls)
    test_weaker_attacker = _test(certificates.weaker_attacker_never_certifies_less)
    test_larger_alpha = _test(certificates.larger_alpha_never_certifies_less)
    test_guarantee = _test(certificates.alpha_means_what_the_guarantee_says)
    test_confidence = _test(confidence.alpha_covers_as_many_examples_as_the_guarantee_says)
    test_certify_is_pure = _test(certificates.certify_is_pure)
    test_every_training_set = _test(attacks.every_training_set_is_answered)
    test_attacks_label_flip = _test(attacks.ATTACKS[Threat.LABEL_FLIP])
    test_attacks_delete = _test(attacks.ATTACKS[Threat.DELETE])
    test_attacks_insert = _test(attacks.ATTACKS[Threat.INSERT])
    test_attacks_modify = _test(attacks.ATTACKS[Threat.MODIFY])
    test_attacks_any = _test(attacks.ATTACKS[Threat.ANY])

    @classmethod
    @cache
    def _bench(cls) -> Bench:
        """One bench, and so one training, for all the tests of a class."""
        return make_bench(cls.defense, cls.dataset, cls.registry)
