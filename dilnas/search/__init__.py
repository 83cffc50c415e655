"""Search for the Pareto front under a budget. Importing this loads neither torch nor Ray."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dilnas.search.events import Event, SearchResult
    from dilnas.search.unit import Evaluator
    from dilnas.sizes import ImageSize

__all__ = ["search"]


def search(
    space: str = "dilateformer",
    *,
    budget_gflops: float | None = None,
    budget_mparams: float | None = None,
    budget_mb: float | None = None,
    budget_ms: float | None = None,
    profile: str | None = None,
    img_size: ImageSize | None = None,
    objectives: Sequence[str] = ("accuracy", "gflops"),
    trials: int | None = None,
    time_limit: float | None = None,
    gpu_hours: float | None = None,
    final_seeds: int | None = None,
    trial_timeout: float | None = None,
    seed: int = 0,
    data: str = "embedded",
    proxy: str = "quick",
    sampler: str = "auto",
    workers: int | None = None,
    gpus_per_trial: float = 0,
    address: str | None = None,
    storage: str | None = None,
    out: str | None = None,
    on_event: Callable[[Event], None] | None = None,
    evaluator: Evaluator | None = None,
) -> SearchResult:
    """Search ``space`` for architectures that no other beats in accuracy and cost.

    The same call goes on from where it stopped, and does nothing when it had finished.

    Args:
        space: name of a shipped search space or path of a YAML file.
        budget_gflops: limit in 10^9 FLOPs (the paper's convention), one image.
        budget_mparams: limit in 10^6 parameters.
        budget_mb: limit in 10^6 bytes of weights and live activations, fp32, one image.
        budget_ms: limit in predicted milliseconds of a batch of the calibration's workload.
        profile: the calibration that latency is predicted by, a name under ``profiles/`` or a file;
            where its device is this one's, the front is measured on it at the end.
        img_size: side, or (height, width), of the images that every cost is of, in pixels; None:
            the space's own. The proxy trains at its own size.
        objectives: "accuracy" and one of "gflops", "mparams", "mb", "ms".
        trials: candidates to train; 24, or without end under another limit.
        time_limit: seconds, of all calls together, after which no new training begins.
        gpu_hours: hours of GPUs, of all trainings and calls together, after which none begins.
        final_seeds: seeds, none of them the search's, with which the front is trained again at the
            end; None: 2 for the proxy quick, 1 for smoke, else 3; 0: no re-training.
        trial_timeout: seconds from one rung to the next after which a training is taken for a hang,
            ended, and its candidate failed; else ten times what like ones took.
        seed: of proposals and training.
        data: what ``dilnas.data.load_data`` takes.
        proxy: name of the training setting, ``dilnas.train.PROXIES``.
        sampler: auto (ehvi), ehvi, gp, tpe, nsga2 or random.
        workers: trainings at once; as many as CPU cores (8 at most) or as the GPUs allow.
        gpus_per_trial: GPUs, or share of one, that a training gets.
        address: of a running Ray cluster that shares this file system; else one on this machine.
        storage: SQLAlchemy URL of the ledger; else SQLite in the run directory.
        out: run directory; else ``runs/NAME``, the name made from the arguments.
        on_event: called with ``dilnas.search.events`` as they happen, in this thread.
        evaluator: what scores a candidate instead of training on ``proxy`` and ``data``.

    Raises a DilnasError for what the user can put right; nothing half-written is left then.
    """
    from dilnas.errors import InputError
    from dilnas.search.driver import run_search
    from dilnas.search.evaluator import TrainingEvaluator
    from dilnas.search.settings import Settings, Workplace

    settings = Settings.checked(
        space=space,
        budgets={
            "gflops": budget_gflops,
            "mparams": budget_mparams,
            "mb": budget_mb,
            "ms": budget_ms,
        },
        profile=profile,
        image_size=img_size,
        objectives=objectives,
        trials=trials,
        time_limit=time_limit,
        gpu_hours=gpu_hours,
        final_seeds=final_seeds,
        trial_timeout=trial_timeout,
        seed=seed,
        data=data,
        proxy=proxy,
        sampler=sampler,
        storage=storage,
    )
    if gpu_hours is not None and not gpus_per_trial:
        raise InputError("needs --gpus-per-trial: without GPUs it never ends", where="--gpu-hours")
    workplace = Workplace.checked(workers=workers, gpus=gpus_per_trial, address=address)
    return run_search(
        settings,
        workplace,
        evaluator or TrainingEvaluator(proxy, data),
        out=out,
        tell=on_event or (lambda event: None),
    )
