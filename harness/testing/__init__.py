"""Is it a sound defense? One call, or one class to inherit, that tells the author of a plugin.

In a few seconds, on a tiny data set::

    from harness.testing import check_defense

    def test_it_conforms():
        check_defense(MyDefense)

or, with one test for each property::

    from harness.testing import DefenseConformance

    class TestMyDefense(DefenseConformance):
        defense = MyDefense

:func:`check_features` does the same for features: each row must follow from its own example alone.

Passing proves no theorem. It shows that the rules are kept on which certificates rest.
"""

from harness.testing.conformance import DefenseConformance, check_defense
from harness.testing.data import tiny_dataset
from harness.testing.features import check_features
from harness.testing.judging import Report
from harness.testing.verdicts import ConformanceError

__all__ = [
    "ConformanceError",
    "DefenseConformance",
    "Report",
    "check_defense",
    "check_features",
    "tiny_dataset",
]
