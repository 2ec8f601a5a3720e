"""The program's own commands, by name: no plugin can add one that is called so."""

BUILT_IN = {
    "run": "Train, certify, compare: the paper's comparison without arguments.",
    "sweep": "Train and compare every combination of parameters: who proves most at which r.",
    "attack": "What attacks reach, beside what is proved; tells a certificate that does not hold.",
    "certify": "Certificates from votes that somebody else trained: no training.",
    "list": "What is installed: defenses, datasets, learners, features, attacks, suites, threats.",
    "show": "One defense, dataset, learner, features, attack or suite: parameters, threats, paper.",
    "compare": "What became worse between two runs: a gate for CI.",
    "publish": "The small, diffable form of a run, to commit as a baseline.",
    "report": "Draw the report of a run again, or of several runs in one.",
    "new-defense": "A plugin project with a defense that works, and its tests: start here.",
    "cache": "The evidence store: what it holds, and getting rid of it.",
    "doctor": "Versions, devices and plugins, and what is wrong with them.",
}
