"""Optuna's samplers, asked for one more code.

The sampler never sees the ledger's study: it gets a fresh in-memory study, filled with what is
comparable. That is every candidate's score at one rung, the highest that enough candidates have
reached (the rule of BOHB, Falkner et al., ICML 2018), and the candidates being trained. Otherwise
a model-based sampler would learn from nothing but the few trials at full fidelity.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

from dilnas.search.candidate import RUNNING, Candidate
from dilnas.search.ledger import distributions
from dilnas.search.threads import one_torch_thread

__all__ = ["STARTUP", "ask", "reference_rung"]

STARTUP = 10
"""Scores that a model needs; with fewer, proposals are random."""

POPULATION = 20
"""Of NSGA-II: smaller than its default, because proxy training affords few evaluations."""


def reference_rung(candidates: Sequence[Candidate], axes: int) -> int:
    """The highest rung that at least ``axes`` + 1 (and ``STARTUP``) candidates have finished."""
    need = max(STARTUP, axes + 1)
    highest = max((c.rung for c in candidates), default=0)
    for rung in range(highest, 0, -1):
        if sum(c.rung >= rung for c in candidates if c.alive) >= need:
            return rung
    return 0


def ask(
    candidates: Sequence[Candidate],
    axes: Sequence[tuple[str, int]],
    cost_name: str,
    origin: str,
    seed: int,
) -> tuple[int, ...]:
    """The code that sampler ``origin`` (gp, tpe or nsga2) proposes after ``candidates``.

    ``axes`` are (name, number of values); the same arguments give the same code.
    """
    import optuna

    view = _view(candidates, axes, cost_name, _optuna_sampler(origin, seed))
    with warnings.catch_warnings(), one_torch_thread():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        trial = view.ask(distributions(axes))
    return tuple(int(trial.params[name]) for name, _ in axes)


def _view(
    candidates: Sequence[Candidate],
    axes: Sequence[tuple[str, int]],
    cost_name: str,
    sampler: Any,
) -> Any:
    """An in-memory study of what the sampler may learn from: (accuracy, log cost)."""
    import optuna
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    space = distributions(axes)
    rung = reference_rung(candidates, len(axes))
    alive = [c for c in candidates if c.alive]
    for index, c in enumerate(c for c in alive if c.rung >= rung):
        study.add_trial(
            create_trial(
                params=dict(zip(space, c.code, strict=True)),
                distributions=space,
                values=[c.scores[rung].accuracy, math.log(c.figures.get(cost_name))],
                system_attrs={"NSGAIISampler:generation": index // POPULATION},
            )
        )
    for c in alive:
        if c.rung < rung and c.state == RUNNING:
            study.add_trial(
                create_trial(
                    state=TrialState.RUNNING,
                    distributions=space,
                    params=dict(zip(space, c.code, strict=True)),
                )
            )
    return study


def _optuna_sampler(origin: str, seed: int) -> Any:
    import optuna

    samplers = optuna.samplers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if origin == "gp":
            return samplers.GPSampler(seed=seed, n_startup_trials=STARTUP)
        if origin == "tpe":
            return samplers.TPESampler(
                seed=seed, n_startup_trials=STARTUP, multivariate=True, constant_liar=True
            )
        return samplers.NSGAIISampler(seed=seed, population_size=POPULATION)
