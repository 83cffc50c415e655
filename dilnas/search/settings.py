"""What a search was asked to do: checked, named, written to run.json and compared on resume."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dilnas.errors import DeviceError, InputError
from dilnas.ray_session import check_cluster
from dilnas.search.candidate import COST_NAMES
from dilnas.search.finals import default_seeds
from dilnas.search.storage import shown_url
from dilnas.sizes import ImageSize, plain_size, sides_of, size_text

__all__ = ["SAMPLERS", "Settings", "Workplace", "default_directory"]

SAMPLERS = ("auto", "ehvi", "gp", "tpe", "nsga2", "random")

DEFAULT_TRIALS = 24
MOST_TRIALS = 100_000
MOST_SEEDS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One search. All but its limits (``trials``, ``time_limit``, ``gpu_hours``, ``final_seeds``,
    ``trial_timeout``) make it what it is: those may change later.

    Attributes:
        space: name or path of the search space.
        budgets: limits by ``COST_NAMES``; nothing above one is trained.
        cost_name: the cost that is an objective beside the accuracy.
        trials: candidates to train; None with another limit: as many as it allows.
        time_limit: seconds, of all sessions together, after which no new unit of work begins.
        seed: of the sampler and of training.
        data: what ``load_data`` takes.
        proxy: name of the proxy.
        sampler: one of ``SAMPLERS``.
        storage: SQLAlchemy URL of the ledger; None: SQLite in the run directory.
        gpu_hours: hours of GPUs, of all workers and sessions together, after which no new unit of
            work begins.
        final_seeds: seeds that the front is re-trained with at the end.
        trial_timeout: seconds after which a unit of work is taken for a hang; None: from like ones.
        profile: name of the calibration that latency is predicted by.
        image_size: height and width that costs are of, in pixels; None: the space's own. The proxy
            trains at its own size.
    """

    space: str
    budgets: dict[str, float]
    cost_name: str
    trials: int | None
    time_limit: float | None
    seed: int
    data: str
    proxy: str
    sampler: str
    storage: str | None
    gpu_hours: float | None = None
    final_seeds: int = 0
    trial_timeout: float | None = None
    profile: str | None = None
    image_size: tuple[int, int] | None = None

    @classmethod
    def checked(
        cls,
        *,
        space: str,
        budgets: Mapping[str, float | None],
        objectives: Sequence[str],
        trials: int | None,
        time_limit: float | None,
        seed: int,
        data: str,
        proxy: str,
        sampler: str,
        storage: str | None,
        gpu_hours: float | None = None,
        final_seeds: int | None = None,
        trial_timeout: float | None = None,
        profile: str | None = None,
        image_size: ImageSize | None = None,
    ) -> Settings:
        """Settings from a user's values. Raises InputError naming the option at fault."""
        limits = {}
        for name, value in budgets.items():
            if value is not None:
                limits[name] = _positive(value, f"--budget-{name}")
        if trials is None and time_limit is None and gpu_hours is None:
            trials = DEFAULT_TRIALS
        if trials is not None:
            _whole(trials, "--trials", 1, MOST_TRIALS)
        if time_limit is not None:
            time_limit = _positive(time_limit, "--time-limit")
        if gpu_hours is not None:
            gpu_hours = _positive(gpu_hours, "--gpu-hours")
        if trial_timeout is not None:
            trial_timeout = _positive(trial_timeout, "--trial-timeout")
        _whole(seed, "--seed", 0, 2**31 - 1)
        if final_seeds is None:
            final_seeds = default_seeds(proxy)
        _whole(final_seeds, "--final-seeds", 0, MOST_SEEDS)
        if sampler not in SAMPLERS:
            raise InputError(
                "unknown sampler", where="--sampler", expected=" | ".join(SAMPLERS), got=sampler
            )
        cost_name = _cost_objective(objectives)
        if profile is None and "ms" in (cost_name, *limits):
            option = "--budget-ms" if "ms" in limits else "--objectives accuracy,ms"
            raise InputError(
                f"{option} needs a calibration of the device: dilnas calibrate makes one",
                where="--profile",
            )
        return cls(
            space=space, budgets=limits, cost_name=cost_name, trials=trials,
            time_limit=time_limit, seed=seed, data=data, proxy=proxy, sampler=sampler,
            storage=storage, gpu_hours=gpu_hours, final_seeds=final_seeds,
            trial_timeout=trial_timeout, profile=profile,
            image_size=None if image_size is None else sides_of(image_size),
        )  # fmt: skip

    @property
    def most_candidates(self) -> int:
        """Candidates to start at most."""
        return MOST_TRIALS if self.trials is None else self.trials

    def identity(
        self, *, space: str, fingerprint: str, image_size: tuple[int, int],
        proxy: Mapping[str, Any], data: str, calibration: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """What must be equal for a run directory to be continued.

        Args:
            space: name of the space.
            fingerprint: of the space.
            image_size: height and width that costs are of, in pixels.
            proxy: the proxy's values.
            data: fingerprint of the data.
            calibration: what latency is predicted by, if it is.
        """
        return {
            "calibration": None if calibration is None else dict(calibration),
            "space": space,
            "space_fingerprint": fingerprint,
            "image_size": plain_size(image_size),
            "budgets": self.budgets,
            "objectives": ["accuracy", self.cost_name],
            "proxy": self.proxy,
            "proxy_settings": dict(proxy),
            "seed": self.seed,
            "sampler": self.sampler,
            "data": self.data,
            "data_fingerprint": data,
            "storage": shown_url(self.storage) if self.storage else None,
        }

    def limits(self) -> dict[str, Any]:
        """How far to go; may differ on resume."""
        return {
            "trials": self.trials, "time_limit": self.time_limit, "gpu_hours": self.gpu_hours,
            "final_seeds": self.final_seeds,
        }  # fmt: skip


def default_directory(settings: Settings) -> Path:
    """runs/NAME, the same for the same search: what differs from the defaults is in the name."""
    parts = [Path(settings.space).stem]
    if settings.image_size is not None:
        parts.append(size_text(settings.image_size, "x"))
    parts += [f"{value:g}{name}" for name, value in sorted(settings.budgets.items())]
    if settings.cost_name != "gflops":
        parts.append(f"by-{settings.cost_name}")
    if settings.data != "embedded":
        parts.append(Path(settings.data).name)
    for value, default in ((settings.proxy, "quick"), (settings.sampler, "auto")):
        if value != default:
            parts.append(value)
    if settings.seed:
        parts.append(f"seed{settings.seed}")
    return Path("runs") / re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(parts))


def _positive(value: float, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError("must be a number", where=where, got=value)
    if not (math.isfinite(value) and value > 0):
        raise InputError("must be positive", where=where, got=value)
    return float(value)


def _whole(value: int, where: str, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError("out of range", where=where, expected=f"{low}..{high}", got=value)


def _cost_objective(objectives: Sequence[str]) -> str:
    names = objectives.split(",") if isinstance(objectives, str) else list(objectives)
    costs = [name for name in names if name in COST_NAMES]
    if sorted(names) != sorted(["accuracy", *costs]) or len(costs) != 1:
        raise InputError(
            "the objectives are accuracy and one cost", where="--objectives",
            expected="accuracy," + "|".join(COST_NAMES), got=",".join(map(str, names)),
        )  # fmt: skip
    return costs[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """Where a search computes; changes nothing in what it finds.

    Attributes:
        workers: units of work at once; None: chosen from the cluster at ``address``.
        gpus: GPUs, or share of one, for each.
        address: of a running Ray cluster; None: this machine.
    """

    workers: int | None
    gpus: float
    address: str | None

    @classmethod
    def checked(cls, *, workers: int | None, gpus: float, address: str | None) -> Workplace:
        """From a user's values. Raises InputError or DeviceError naming the option at fault."""
        if workers is not None:
            _whole(workers, "--workers", 1, 4096)
        if isinstance(gpus, bool) or not (math.isfinite(gpus) and gpus >= 0):
            raise InputError("must be 0 or more", where="--gpus-per-trial", got=gpus)
        if gpus > 1 and gpus != int(gpus):
            raise InputError(
                "more than one GPU must be a whole number", where="--gpus-per-trial", got=gpus
            )
        if address is not None:
            check_cluster(address)
        if gpus and address is None:
            have = _gpus_here()
            if gpus > have:
                raise DeviceError(
                    "a training needs more GPUs than this machine has", where="--gpus-per-trial",
                    expected=f"<= {have}", got=gpus,
                )  # fmt: skip
            workers = workers or max(1, int(have / gpus))
        if workers is None and address is None:
            workers = min(8, _cores())
        return cls(workers=workers, gpus=gpus, address=address)

    @property
    def threads(self) -> int:
        """Threads of each worker: the machine's cores, shared out."""
        return max(1, _cores() // (self.workers or _cores()))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpus_here() -> int:
    import torch

    return torch.cuda.device_count()
