"""The Python interface: what the command line does, in a line of a notebook.

Nothing in here prints, asks or exits: a mistake is a :class:`~harness.errors.UsageError` with the
line that the command line shows. All of it is there as ``harness.run``, ``harness.load``, ...
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.attacking.again import load_again
from harness.attacking.session import BUDGET, EXAMPLES, Siege, Wishes
from harness.attacking.told import Attacks
from harness.certificates import PointwiseCertificate
from harness.comparing.folders import compare_folders
from harness.comparing.metrics import Rules
from harness.errors import CellFailed, DataError, UsageError
from harness.foreign.case import choose, settle
from harness.foreign.certify import certify as prove
from harness.foreign.votes import checked_evidence, read_votes
from harness.plugins.alternatives import expand_all
from harness.plugins.listing import (
    list_attacks,
    list_datasets,
    list_defenses,
    list_features,
    list_learners,
    list_suites,
)
from harness.plugins.registry import load_registry
from harness.plugins.suites import ALPHA, Suite, is_suite
from harness.report.run import Run
from harness.report.write import write_report
from harness.results.cells import file_name
from harness.results.paths import as_path
from harness.results.store import store_path
from harness.running.cluster.connecting import Where
from harness.running.machine import choose_device
from harness.running.plan import Wanted
from harness.running.progress import show_progress
from harness.running.quiet import Quiet
from harness.running.session import Session, prepare
from harness.threats import Threat, parse_threats

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

    from harness.comparing.comparison import Comparison
    from harness.datasets.base import Dataset
    from harness.defense import Defense
    from harness.running.task import Progress

__all__ = ["Attacks", "Run", "attack", "carry_out", "certify", "compare", "list_attacks"]
__all__ += ["list_datasets", "list_defenses", "list_features", "list_learners", "list_suites"]
__all__ += ["load", "plan", "run", "sweep"]

Cells = str | Path | Suite | Wanted | Sequence[Wanted]
"""What may be compared: see :func:`run`."""


def run(
    defenses: Cells | None = None,
    *,
    dataset: str | Dataset | None = None,
    threats: str | Threat | Sequence[str | Threat] | None = None,
    alpha: float | Sequence[float] | None = None,
    seed: int | Sequence[int] | None = None,
    device: str = "cpu",
    output: str | Path | None = None,
    timeout: float | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    client: Client | None = None,
    fresh: bool = False,
    progress: bool | Progress = False,
    store: str | Path | None = None,
    data_root: str | Path | None = None,
    on_error: str = "raise",
) -> Run:
    """Trains, certifies and compares defenses.

    ``defenses``: names with parameters (``"bagging[k=20]"``), defenses (``Bagging(...)``) or their
    classes, one or several; or a suite, by its name or its TOML file; without it, the paper's
    comparison. ``dataset``: by its name, or a :class:`harness.Dataset`; ``"mnist17"`` without it.
    ``threats``: as :class:`harness.Threat` has them. ``alpha`` in (0, 1): the probability that a
    probabilistic defense has anything certified wrongly. Several seeds or alphas make a cell each.

    ``output``: the run's folder, made self-contained; one that holds an earlier run on the same
    data is widened, and ``fresh`` starts over. Without it everything goes to a scratch folder that
    lives as long as the result. What was trained before, for whatever run, is taken from the
    evidence ``store``: a folder, or "off"; by default the user's cache.

    ``workers``: so many processes of this machine train; ``scheduler``: those of a Dask cluster, by
    its address or the file that it wrote; ``client``: those of a ``distributed.Client``. Without
    any of them this process trains. What is found is the same.

    ``timeout``: seconds for each cell, in a process of its own. ``progress``: True for bars on
    standard error, or an object with the methods of :class:`harness.running.task.Progress`.

    Raises UsageError for a value that is not allowed, DataError for data that cannot be used,
    RunFolderError and NoSpaceError for a folder that cannot be; ClusterError for a cluster that
    cannot be used or is lost; CellFailed where a cell failed (the others are finished), unless
    ``on_error`` is "keep".

    >>> import harness
    >>> run = harness.run("bagging[n_models=100]", threats="any")
    >>> run.certificates("bagging[n_models=100]", "any").columns.tolist()
    ['example', 'label', 'prediction', 'radius']
    """
    _check(on_error, progress)
    planned = plan(
        defenses,
        dataset=dataset,
        threats=threats,
        alpha=alpha,
        seed=seed,
        device=device,
        output=output,
        timeout=timeout,
        workers=workers,
        scheduler=scheduler,
        client=client,
        fresh=fresh,
        store=store,
        data_root=data_root,
    )
    return carry_out(planned, planned.words(), progress=progress, on_error=on_error)


def plan(defenses: Cells | None = None, **options: Any) -> Session:
    """What :func:`run` would do with the same arguments, everything checked, nothing trained.

    >>> import harness
    >>> [cell.label for cell in harness.plan(["bagging", "dpa"]).plan.cells]
    ['bagging', 'dpa']
    """
    for name in ("output", "data_root"):
        if options.get(name) is not None:
            options[name] = as_path(name, options[name])
    return prepare(_cells(defenses), **options)


def carry_out(
    planned: Session,
    command: Sequence[str],
    *,
    progress: bool | Progress = False,
    on_error: str = "keep",
) -> Run:
    """Does what was planned. ``command``: the words that the manifest says made it."""
    quiet = nullcontext(Quiet() if isinstance(progress, bool) else progress)
    with show_progress() if progress is True else quiet as told:
        outcome = planned.carry_out(told, command)
        if not outcome.scratch:
            told.note("drawing the report")
            write_report(outcome.folder)
    notes = [f"left out: {reason}" for reason in planned.plan.left_out]
    notes += told.notes if isinstance(told, Quiet) else []
    result = Run(outcome.folder, notes=notes, scratch=outcome.scratch)
    failed = {one.cell.label: one.error for one in outcome.results if one.error is not None}
    if failed and on_error == "raise":
        raise CellFailed(failed, result)
    return result


def sweep(
    defenses: str | Sequence[str],
    *,
    dataset: str | Dataset | Sequence[str | Dataset] | None = None,
    output: str | Path | None = None,
    **options: Any,
) -> Run | dict[str, Run]:
    """Every combination of parameters: ``"bagging[k=10|20]"``, ``"bagging[k=10..100:10]"``.

    As :func:`run`; with a list of data sets, a run for each, by its name, in a folder of that name
    below ``output``.

    >>> import harness
    >>> harness.sweep("bagging[k=10|20,n_models=50]").defenses
    ['bagging[k=10,n_models=50]', 'bagging[k=20,n_models=50]']
    """
    cells = expand_all(_texts(defenses))
    _check(options.get("on_error", "raise"), options.get("progress", False))
    if dataset is None or isinstance(dataset, str) or not isinstance(dataset, Sequence):
        return run(cells, dataset=dataset, output=output, **options)
    if not dataset:
        raise UsageError("no data set is given; wanted at least one")
    known = {k: v for k, v in options.items() if k not in ("progress", "on_error")}
    plans = [plan(cells, dataset=one, **known) for one in dataset]
    names = [file_name(one.plan.dataset.name) for one in plans]
    if len(set(names)) < len(names):
        raise UsageError(f"two of these data sets are called alike: {', '.join(names)}")
    folders = [None if output is None else as_path("output", output) / name for name in names]
    if output is not None:  # what it holds says what the cells are called
        plans = [
            replace(plan(cells, dataset=one.plan.dataset, output=folder, **known), asked=one.asked)
            for one, folder in zip(plans, folders, strict=True)
        ]
    on_error, progress = options.get("on_error", "raise"), options.get("progress", False)
    return {
        name: carry_out(one, one.words(), progress=progress, on_error=on_error)
        for name, one in zip(names, plans, strict=True)
    }


def load(folder: str | Path) -> Run:
    """The finished run, or the published report, in that folder.

    Raises RunFolderError for a folder that holds none, SchemaError for one of another version.

    >>> import harness, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = harness.run("dpa[n_models=50]", output=folder, threats="any")
    ...     harness.load(folder).defenses
    ['dpa[n_models=50]']
    """
    return Run(folder)


def compare(
    base: Run | str | Path,
    new: Run | str | Path,
    *,
    defenses: str | Sequence[str] = (),
    fail_on: str | Sequence[str] = (),
    allow_missing_baseline: bool = False,
) -> Comparison:
    """What became worse from one run to another: ``.regressions`` has a line for each.

    ``base``, ``new``: runs, or folders of runs or published reports. ``defenses``: only those.
    ``fail_on``: what counts as worse, beyond the defaults, as ``harness compare --fail-on`` takes
    it. Raises UsageError, and RunFolderError for a folder that is not there or no run.

    >>> import harness
    >>> base, new = (harness.run(f"dpa[n_models={n}]", threats="any") for n in (60, 50))
    >>> print(harness.compare(base, new).regressions[0])
    dpa[n_models=60]: vanished: the new run has dpa[n_models=50] in its place (n_models 60 -> 50)
    """
    before, after = (
        one.result if isinstance(one, Run) else as_path(name, one)
        for name, one in (("base", base), ("new", new))
    )
    rules = Rules.parse([fail_on] if isinstance(fail_on, str) else list(fail_on))
    wanted = (defenses,) if isinstance(defenses, str) else tuple(defenses)
    found, _ = compare_folders(before, after, rules, wanted, allow_missing=allow_missing_baseline)
    return found


def attack(
    run: Run | str | Path,
    *,
    cells: str | Sequence[str] = (),
    threats: str | Threat | Sequence[str | Threat] | None = None,
    examples: int | None = EXAMPLES,
    attacks: str | Sequence[str] = (),
    budget: float = BUDGET,
    seed: int = 0,
    dataset: Dataset | None = None,
    defenses: type[Defense[Any]] | Sequence[type[Defense[Any]]] = (),
    device: str = "cpu",
    workers: int | None = None,
    scheduler: str | None = None,
    client: Client | None = None,
    store: str | Path | None = None,
    data_root: str | Path | None = None,
    progress: bool | Progress = False,
) -> Attacks:
    """What attacks on a finished run reach, beside what it proves.

    For each cell, threat and test example the smallest attack is looked for that changes the
    prediction: the training set is really poisoned and the defense really trained on it. An attack
    of a certified size that succeeds refutes the certificate: see ``.refuted``.

    ``run``: a run, or its folder, in which ``attacks.csv``, the poisoned rows and a new report are
    left; what was attacked before is not attacked again. ``cells``, ``threats``, ``attacks``: only
    those. ``examples``: so many test examples that are predicted rightly with a radius, drawn with
    ``seed``; None for all. ``budget``: seconds for each cell and threat. ``dataset``: the run's
    data, where they are in no file; ``defenses``: its classes that are not installed. The other
    arguments are those of :func:`run`.

    Raises UsageError for a value that is not allowed, DataError for data that are not the run's,
    RunFolderError and SchemaError for a folder that holds no run of this version.

    >>> import harness
    >>> run = harness.run("knn[k=500]", threats="insert")
    >>> found = harness.attack(run, examples=2)
    >>> int(found.table["proof_gap"].min()), found.refuted
    (1, [])
    """
    _check("raise", progress)
    folder = run.folder if isinstance(run, Run) else as_path("run", run)
    registry, chosen = load_registry(), choose_device(device)
    wishes = Wishes(
        examples,
        tuple(() if threats is None else parse_threats("threats", threats)),
        (attacks,) if isinstance(attacks, str) else tuple(attacks),
        (cells,) if isinstance(cells, str) else tuple(cells),
        budget,
        seed,
    )
    wishes.check(registry)
    where = Where(workers, scheduler, client)
    again = load_again(
        folder,
        registry,
        dataset=dataset,
        data_root=None if data_root is None else as_path("data_root", data_root),
        only=wishes.cells,
        device=chosen.type,
        classes=(defenses,) if isinstance(defenses, type) else tuple(defenses),
    )
    quiet = nullcontext(Quiet() if isinstance(progress, bool) else progress)
    with show_progress("attacks") if progress is True else quiet as told:
        siege = Siege(again, registry, chosen, wishes, told, store_path(store), where)
        siege.carry_out()
        told.note("drawing the report")
        write_report(folder)
    return Attacks.of(folder, siege.notes, siege.failures)


def certify(
    defense: str,
    votes: Any,
    *,
    n_train: int | None = None,
    n_labels: int | None = None,
    threat: str | Threat | Sequence[str | Threat] = "any",
    alpha: float = ALPHA,
    labels: Any = None,
    **parameters: Any,
) -> pd.DataFrame:
    """Certificates from votes that somebody else trained: columns ``prediction``, ``radius``.

    One row for each test example, in their order; a radius of -1 abstains. With several threats
    a column ``threat`` comes before them.

    ``votes`` (e, c): how many base models vote for each of the c labels; or a dictionary of named
    arrays, among them ``votes`` or ``predictions`` (m, e), for a defense that needs more; or the
    path of a file with them. ``n_train``: training examples that the base models were drawn from.
    ``labels`` (e,), the true ones, play no part. ``parameters``: those of the defense, and what
    else it needs (``harness show NAME``). Nothing that a certificate rests on is assumed.

    Raises UsageError, DataError for what is missing, not allowed or does not fit together.

    >>> import harness
    >>> harness.certify("bagging", [[900, 100], [510, 490]], n_train=60_000, k=100)
       prediction  radius
    0           0     270
    1           0      -1
    """
    import pandas as pd

    if not isinstance(defense, str):
        raise UsageError(f"{defense!r} is no name of a defense; wanted NAME or NAME[key=value,...]")
    for name, number in (("n_train", n_train), ("n_labels", n_labels)):
        whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
        if number is not None and not whole:
            raise UsageError(f"{name} must be a whole number, found {number!r}")
    arrays = votes if isinstance(votes, Mapping) else {"votes": votes}
    if isinstance(votes, str | Path):
        file = Path(votes)
        found = read_votes(file)
    else:
        file = Path("votes")
        named = {**arrays, **({} if labels is None else {"labels": labels})}
        found = checked_evidence({name: _array(name, one) for name, one in named.items()}, file)
    asked = parse_threats("threat", threat)
    settings = [f"{name}={value}" for name, value in parameters.items()]
    case = settle(
        choose(load_registry(), defense, settings), found, file, n_train=n_train, n_labels=n_labels
    )
    parts = []
    for one in prove(case, asked, alpha).proved:
        if isinstance(one.certificate, PointwiseCertificate):
            columns = {"prediction": one.certificate.predictions, "radius": one.certificate.radii}
            part = pd.DataFrame(columns)
            if len(asked) > 1:
                part.insert(0, "threat", one.threat.value)
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _cells(defenses: Cells | None) -> str | Path | Suite | Sequence[Wanted] | None:
    """What was given: a suite as it is, cells as a list."""
    if defenses is None or isinstance(defenses, Path | Suite):
        return defenses
    if isinstance(defenses, str):
        return defenses if is_suite(defenses) else [defenses]
    if isinstance(defenses, Sequence):
        return list(defenses)
    return [defenses]


def _texts(defenses: Any) -> list[str]:
    """What a sweep goes over. Raises UsageError for what is no text."""
    given = [defenses] if isinstance(defenses, str | type) else defenses
    texts = list(given) if isinstance(given, Iterable) else [given]
    for text in texts:
        if not isinstance(text, str):
            raise UsageError(f"a sweep is over texts, NAME[KEY=VALUE|VALUE], found {text!r}")
    return texts


def _array(name: str, given: Any) -> np.ndarray[Any, Any]:
    try:
        return np.asarray(given)
    except Exception as error:  # of rows of several lengths, and of whatever else was given
        text = " ".join(str(error).split())
        raise DataError(f"{name} cannot be read as an array of numbers: {text}") from None


_TOLD = ("start", "advance", "finish", "note")


def _check(on_error: Any, progress: Any) -> None:
    """Raises UsageError for what is neither allowed nor needed before everything is trained."""
    if on_error not in ("raise", "keep"):
        raise UsageError(f"on_error={on_error!r} is not allowed; allowed: 'raise', 'keep'")
    lacks = not all(callable(getattr(progress, name, None)) for name in _TOLD)
    if not isinstance(progress, bool) and lacks:
        raise UsageError(
            f"progress={progress!r} is not allowed; wanted True, False or an object with "
            f"{', '.join(_TOLD[:-1])} and {_TOLD[-1]}"
        )
