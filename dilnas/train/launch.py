"""Start the workers of a training: this process for one, Ray Train for more or on a cluster."""

from __future__ import annotations

import logging
import os
import random
import re
import shutil
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from dilnas.data.stream import open_stream
from dilnas.errors import DilnasError, RunError
from dilnas.ray_session import ray_session
from dilnas.train.events import Event, OnEvent
from dilnas.train.group import Group
from dilnas.train.job import Job
from dilnas.train.loop import FullLoop

if TYPE_CHECKING:
    from dilnas.data.stream import DataStream

__all__ = ["Stop", "run_here", "run_on_ray"]

ENVIRONMENT = {
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
}
"""What Ray Train would do for a dashboard that is not there; time for slow machines to start."""

LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
"""Workers on one machine speak to each other through it alone."""

ASK_EVERY_S = 0.5

BEREFT = re.compile(r"gloo/transport|Connection (closed|reset) by peer|ncclRemoteError|actor died")
"""What is raised where another worker has gone without a word."""


class Stop:
    """Whether the user wants the training to stop: set by the first Ctrl-C."""

    def __init__(self) -> None:
        self.wanted = False

    def __call__(self) -> bool:
        """Asked by the loop."""
        return self.wanted

    def set(self) -> None:
        """Stop after this update, with the state saved."""
        self.wanted = True


def run_here(job: Job, stream: DataStream, tell: OnEvent, stop: Callable[[], bool]) -> bool:
    """Train in this process; False if it was stopped. The caller's random numbers stay."""
    import numpy as np

    device = torch.device("cuda", torch.cuda.current_device()) if job.device == "cuda" else None
    group = Group(0, 1, device or torch.device("cpu"))
    python, numbers = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[device] if device else []):
            return _work(job, stream, group, tell, stop)
    finally:
        random.setstate(python)
        np.random.set_state(numbers)


def _work(
    job: Job, stream: DataStream, group: Group, tell: OnEvent, stop: Callable[[], bool]
) -> bool:
    from contextlib import nullcontext

    from dilnas.train.training_folder import TrainingFolder

    folder = TrainingFolder(job.directory)
    with folder.only_writer() if group.first else nullcontext():
        if group.world > 1:  # nobody reads a state that another still writes
            group.sum([0.0])
        return FullLoop(job, stream, group, tell, stop).run()


def run_on_ray(job: Job, tell: OnEvent, stop: Stop, address: str | None) -> bool:
    """Train in ``job.workers`` processes of Ray Train; False if it was stopped.

    Raises what a worker raised, or RunError when one died.
    """
    local = {} if address else {k: v for k, v in LOOPBACK.items() if k not in os.environ}
    os.environ.update({**ENVIRONMENT, **local})
    gpus = 1 if job.device == "cuda" else 0
    with ray_session(job.workers, gpus=gpus * job.workers, address=address,
                     gpus_option="--workers"):  # fmt: skip
        return _fit(job, tell, stop)


def _fit(job: Job, tell: OnEvent, stop: Stop) -> bool:
    import ray

    class Mailbox:
        """What workers tell the driver, and whether it wants them to stop."""

        def __init__(self) -> None:
            self.letters: list[Any] = []
            self.stop = False

        def put(self, letter: Any) -> None:
            self.letters.append(letter)

        def take(self, stop: bool) -> list[Any]:
            self.stop = stop
            letters, self.letters = self.letters, []
            return letters

        def stop_wanted(self) -> bool:
            return self.stop

    mailbox = ray.remote(num_cpus=0)(Mailbox).remote()
    quiet = logging.getLogger("ray")
    level = quiet.level
    quiet.setLevel(logging.CRITICAL)
    scratch = job.directory / ".ray"
    ended = _Ended()
    thread = threading.Thread(
        target=ended.run, args=(_trainer(job, mailbox, scratch),), daemon=True
    )
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.1)
            ended.read(ray.get(mailbox.take.remote(stop.wanted)), tell)
        ended.read(ray.get(mailbox.take.remote(stop.wanted)), tell)
    finally:
        quiet.setLevel(level)
        shutil.rmtree(scratch, ignore_errors=True)
    return ended.result(job)


class _Ended:
    """How Ray Train's ``fit`` and the workers ended."""

    def __init__(self) -> None:
        self.finished: bool | None = None
        self.errors: list[DilnasError] = []
        self.crash = ""
        self.cause: Exception | None = None

    def run(self, trainer: Any) -> None:
        """In a thread of its own: the driver's other one shows progress and sees Ctrl-C."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                trainer.fit()
        except Exception as error:  # noqa: BLE001 - of Ray's kinds; looked at in ``result``
            self.cause = error

    def read(self, letters: list[tuple[str, Any]], tell: OnEvent) -> None:
        for kind, content in letters:
            if kind == "event":
                tell(content)
            elif kind == "error":
                self.errors.append(content)
            elif kind == "crash":
                self.crash = self.crash or content
            else:
                self.finished = content

    def result(self, job: Job) -> bool:
        """Whether it finished. Raises what a worker raised, or RunError."""
        if self.errors:
            raise self.errors[0]
        if self.finished is not None and self.cause is None:
            return self.finished
        reason = self.crash or " ".join(str(self.cause).split())[-300:]
        if BEREFT.search(reason):
            reason = "it was killed, or its machine lost; perhaps for lack of memory"
        raise RunError(
            f"a worker died: {reason}; the same command goes on from the last state",
            where=str(job.directory),
        ) from self.cause


def _trainer(job: Job, mailbox: Any, scratch: Any) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    on_gpu = job.device == "cuda"
    shutil.rmtree(scratch, ignore_errors=True)  # of a driver that was killed
    return TorchTrainer(
        _worker,
        train_loop_config={"job": job, "mailbox": mailbox},
        scaling_config=ScalingConfig(num_workers=job.workers, use_gpu=on_gpu),
        run_config=RunConfig(
            name="training", storage_path=str(scratch), failure_config=FailureConfig(max_failures=0)
        ),
        torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo"),
    )


def _worker(config: dict[str, Any]) -> None:
    """What each process of Ray Train runs."""
    import ray
    from ray import train
    from ray.train.torch import get_device

    job, mailbox = config["job"], config["mailbox"]
    os.chdir(job.cwd)
    context = train.get_context()
    asked = [time.monotonic(), False]

    def tell(event: Event) -> None:
        mailbox.put.remote(("event", event))

    def stop_wanted() -> bool:
        if time.monotonic() - asked[0] > ASK_EVERY_S:
            asked[:] = [time.monotonic(), ray.get(mailbox.stop_wanted.remote())]
        return bool(asked[1])

    try:
        if job.threads:
            torch.set_num_threads(job.threads)
        device = get_device() if job.device == "cuda" else torch.device("cpu")
        if device.type == "cuda":
            torch.cuda.set_device(device)
        group = Group(context.get_world_rank(), context.get_world_size(), device)
        stream = open_stream(job.data, val=job.val, image_size=job.image_size)
        finished = _work(job, stream, group, tell, stop_wanted)
    except DilnasError as error:
        ray.get(mailbox.put.remote(("error", error)))
        raise
    except Exception as error:
        text = " ".join(traceback.format_exception_only(error)[-1].split())
        ray.get(mailbox.put.remote(("crash", text)))
        raise
    if group.first:
        ray.get(mailbox.put.remote(("finished", finished)))
