import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.learners.estimator import EstimatorLearner
from harness.learners.logistic import Logistic
from harness.learners.ridge import Ridge
from harness.learners.spec import canonical, parse_spec, resolve
from harness.specs.grammar import Spec

REGISTRY = {"ridge": Ridge, "logistic": Logistic}

scalars = (
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text() | st.none()
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda v: st.lists(v, max_size=3) | st.tuples(v, v) | st.dictionaries(st.text(), v, max_size=2),
    max_leaves=5,
)
keys = st.from_regex(r"[a-z][a-z_0-9]{0,8}x", fullmatch=True)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]*", fullmatch=True)


parts = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*x", fullmatch=True)
paths = st.lists(parts, min_size=1, max_size=3).map(".".join)
steps = st.recursive(
    st.builds(Spec, paths, st.dictionaries(keys, values, max_size=2)),
    lambda inner: st.builds(Spec, paths, st.just({}), st.lists(inner, max_size=2).map(tuple)),
    max_leaves=4,
)


@given(names, st.dictionaries(keys, values, max_size=3), st.lists(steps, max_size=2))
def test_the_canonical_text_reads_back_as_the_same_spec(name, kwargs, inside):
    spec = Spec(name, kwargs, tuple(inside))
    again = parse_spec(str(spec))
    assert again == spec
    assert str(again) == str(spec)


@given(st.text(max_size=30))
def test_any_text_is_a_spec_or_a_usage_error(text):
    try:
        spec = parse_spec(text)
    except UsageError:
        return
    assert parse_spec(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("ridge", "ridge"),
        (" ridge ( ) ", "ridge"),
        ("ridge(penalty = 1e-1)", "ridge(penalty=0.1)"),
        ("1nn(metric=\"l1\", k=3,)", "1nn(k=3, metric='l1')"),
        ("a.b-c(x=(1,), y=[-1, None], z={'q': 0})", "a.b-c(x=(1,), y=[-1, None], z={'q': 0})"),
        ("f(x=')(')", "f(x=')(')"),
    ],
)  # fmt: skip
def test_canonical_text(text, canonical):
    assert str(parse_spec(text)) == canonical


@pytest.mark.parametrize(
    "text",
    ["", "ridge(", "ridge)", "ridge(1)", "ridge(*[1])", "ridge(**{'a': 1})", "ridge(a=1)(b=2)",
     "ridge(a=1, a=2)", "ridge(a=1), g(b=2)", "two words", "ridge(a=1) + g(b=2)", "r(a=1\0)",
     "ridge(" + "(" * 10_000],
)  # fmt: skip
def test_text_that_is_no_spec(text):
    with pytest.raises(UsageError, match=r"^learner "):
        parse_spec(text)


@pytest.mark.parametrize(
    "value",
    ["__import__('os').getcwd()", "name", "1 + 1", "lambda: 0", "f'{1}'", "1e999", "{1, 2}", "b''",
     "[x for x in ()]", "...", "2j"],
)  # fmt: skip
def test_values_are_literals_and_nothing_is_evaluated(value):
    with pytest.raises(UsageError, match="penalty is not a plain value"):
        parse_spec(f"ridge(penalty={value})")


def test_registered_learners_come_first():
    learner = resolve("ridge(penalty=0.5)", REGISTRY)
    assert isinstance(learner, Ridge)
    assert learner.penalty == 0.5
    assert isinstance(resolve("sklearn.tree.DecisionTreeClassifier", {
        "sklearn.tree.DecisionTreeClassifier": Ridge}), Ridge)  # fmt: skip


def test_an_import_path_is_an_estimator():
    learner = resolve("sklearn.tree.DecisionTreeClassifier(max_depth=3)", REGISTRY)
    assert isinstance(learner, EstimatorLearner)
    assert learner.label == "sklearn.tree.DecisionTreeClassifier(max_depth=3)"
    first, second = learner.factory(), learner.factory()
    assert first.max_depth == second.max_depth == 3
    assert first is not second


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rigde", r"unknown learner 'rigde'; did you mean ridge\? Allowed: logistic, ridge"),
        ("ridge(penalti=1)", r"ridge.* 'penalti'; did you mean penalty\? Allowed: penalty"),
        ("ridge(penalty=-1)", r"ridge: penalty=-1 is not allowed; wanted a number > 0"),
        ("sklearn.tree.DecisionTreeClassifier(depth=3)", r"'depth'; .*Allowed: .*max_depth"),
        ("sklearn.tree.NoSuchTree", r"'sklearn.tree.NoSuchTree' cannot be imported: .*NoSuchTree"),
        ("no_such_module.Thing", r"cannot be imported: No module named 'no_such_module'"),
        (".ridge", r"learner '.ridge' cannot be imported"),
        ("sklearn.tree.export_text", r"is not a class with fit and predict"),
        ("sklearn.preprocessing.StandardScaler", r"is not a class with fit and predict"),
        ("sklearn.ensemble.BaseEnsemble(estimator=None)", r"is not a class|abstract"),
        ("sklearn.ensemble.VotingClassifier", r"VotingClassifier.*estimators"),
    ],
)
def test_a_learner_that_does_not_exist(text, message):
    with pytest.raises(UsageError, match=message):
        resolve(text, REGISTRY)


def test_the_plugin_registers_without_importing_torch():
    code = (
        "import sys, harness.learners as plugin; assert 'torch' not in sys.modules; "
        "print(sorted(learner.name for learner in plugin.harness_register_learners()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (
        done.stdout.strip()
        == "['1nn', 'cnn', 'kernel', 'logistic', 'naive-bayes', 'pipeline', 'ridge', 'torch']"
    )


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("ridge(penalty=0.02)", "ridge"),
        (" ridge( penalty = 2e-2 , )", "ridge"),
        ("ridge(penalty=1)", "ridge(penalty=1.0)"),
        ("ridge(penalty=True)", "ridge(penalty=True)"),
        ("ridge(unknown=1)", "ridge(unknown=1)"),
        ("sklearn.svm.SVC(kernel='rbf', C=2.0)", "sklearn.svm.SVC(C=2.0)"),
        # A fraction and a number of examples: what is 1 to one is not 1.0 to the other.
        ("sklearn.tree.DecisionTreeClassifier(min_samples_leaf=1.0)",
         "sklearn.tree.DecisionTreeClassifier(min_samples_leaf=1.0)"),
        ("sklearn.tree.DecisionTreeClassifier(min_samples_leaf=1)",
         "sklearn.tree.DecisionTreeClassifier"),
    ],
)  # fmt: skip
def test_one_spelling_for_one_learner(text, plain):
    assert canonical(text, REGISTRY) == plain
    assert canonical(plain, REGISTRY) == plain


@pytest.mark.parametrize("text", ["rigde", "no_such_module.Thing", "ridge("])
def test_no_spelling_for_no_learner(text):
    with pytest.raises(UsageError, match="learner"):
        canonical(text, REGISTRY)


def test_an_estimator_checks_its_parameters_at_once():
    with pytest.raises(UsageError, match=r"The 'max_iter' parameter .* Got -1 instead"):
        resolve("sklearn.linear_model.LogisticRegression(max_iter=-1)", REGISTRY)
