"""Which choices of a space decide whether a trial is among the most accurate."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Importance", "importance"]

FEWEST, SURE = 8, 40
"""Trials below which nothing is said, and from which it is said without a warning."""

TOP = 0.25
"""Share of the trials that count as accurate. PED-ANOVA needs some five of them."""


@dataclass(frozen=True, slots=True)
class Importance:
    """Share of the importance by choice, most first; they add up to 1. ``note`` is what must be
    known of them, or why there are none.
    """

    shares: tuple[tuple[str, float], ...]
    note: str


def importance(
    choices: Sequence[Mapping[str, float | str]], accuracies: Sequence[float]
) -> Importance:
    """Importance of each choice for an accuracy in the best quarter, by PED-ANOVA.

    How much the distribution of a choice among the best quarter differs from that among all
    (Watanabe et al., "PED-ANOVA", IJCAI 2023), as Optuna computes it. Only of choices that every
    trial has and that vary.

    Args:
        choices: of each trial at full fidelity, by name.
        accuracies: of each trial, 0..1.
    """
    columns = _varying(choices)
    if len(choices) < FEWEST or not columns:
        few = f"{len(choices)} trials were trained to the end, {FEWEST} are needed"
        return Importance((), few if len(choices) < FEWEST else "No choice varies.")
    try:
        import optuna
        from optuna.importance import PedAnovaImportanceEvaluator
        from optuna.trial import create_trial
    except ImportError:
        return Importance((), "It needs Optuna, which is not installed here.")
    spread = {name: _distribution(values) for name, values in columns.items()}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        direction="maximize", storage=optuna.storages.InMemoryStorage(), study_name="report"
    )
    for place, accuracy in enumerate(accuracies):
        params = {name: values[place] for name, values in columns.items()}
        study.add_trial(create_trial(params=params, distributions=spread, value=accuracy))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the evaluator being experimental
        evaluator = PedAnovaImportanceEvaluator(target_quantile=TOP)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    note = (
        f"From {len(choices)} trials that were trained to the end: how much what was chosen for"
        " the most accurate quarter differs from what was chosen for all (PED-ANOVA). The search"
        " prefers what is good, so the trials are no fair sample of the space."
    )
    if len(choices) < SURE:
        note += f" With fewer than {SURE} trials the order is a hint, no more."
    return Importance(tuple(found.items()), note)


def _varying(choices: Sequence[Mapping[str, float | str]]) -> dict[str, list[Any]]:
    """Places in their order of the values of each choice that all trials have and that varies."""
    names = [name for name in choices[0] if all(name in one for one in choices)] if choices else []
    columns = {name: [one[name] for one in choices] for name in names}
    return {n: _ranks(values) for n, values in columns.items() if len(set(values)) > 1}


def _ranks(values: Sequence[float | str]) -> list[Any]:
    """Numbers become their places among the different ones, which an axis's code is; else texts."""
    if all(isinstance(value, int | float) for value in values):
        order = sorted(set(values))
        return [order.index(value) for value in values]
    return [str(value) for value in values]


def _distribution(values: Sequence[Any]) -> Any:
    """Places in an order, or one of some texts."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if all(isinstance(value, int) for value in values):
        return IntDistribution(min(values), max(values))
    return CategoricalDistribution(sorted(set(values)))
