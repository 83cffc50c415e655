"""An evaluator with a known answer, quick and idempotent like the training one.

The accuracy grows with the parameters and with the rung, plus noise from the architecture's key and
the seed.
Every rung that is really worked on leaves a line in ``log``.
"""

import ctypes
import json
import math
import os
import random
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from ray import cloudpickle

from dilnas.arch import Architecture
from dilnas.cost import cost
from dilnas.errors import RunError
from dilnas.files import write_atomic
from dilnas.search.evaluator import Description


@dataclass(frozen=True)
class World:
    log: str
    rungs: int = 3
    pause: float = 0.02
    ballast: int = 0
    """Bytes of the checkpoint, besides what it says."""
    fails: str = ""
    """How candidates 1 and 2 fail, a key of ``FAILURES``; "all ..." for every one; "start": no
    worker begins; "finals", "finals exit": all their re-trainings; or not."""
    images: int | None = None
    falls: bool = False
    """Whether scores fall from rung to rung: partial ones are then the highest of all."""
    noise: float = 0.02
    """Range of what the seed adds to a score."""

    def __call__(self, architecture, rung, *, directory, seed):
        network = Architecture.from_dict(architecture)
        folder = Path(directory)
        again = folder.name.startswith("seed-")
        number = int(folder.parent.name if again else folder.name)
        if self.fails.startswith("finals") and again and number in (1, 2):
            if self.fails == "finals exit":
                os._exit(1)
            raise ValueError("this one does not train again")
        how = self.fails.removeprefix("all ")
        if how in FAILURES and (number in (1, 2) or how != self.fails):
            Path(f"{self.log}.{number}").write_text(str(os.getpid()))
            FAILURES[how](number)
            return {"accuracy": math.nan, "seconds": 0.0, "images": 0}
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "world.json"
        done = json.loads(path.read_text()) if path.exists() else []
        while len(done) <= rung:
            at_work = Path(directory) / "at_work"
            at_work.write_text(str(os.getpid()))
            time.sleep(self.pause)
            at_work.unlink(missing_ok=True)
            with Path(self.log).open("a") as log:
                log.write(f"{number} {len(done)}" + (f" {folder.name}" if again else "") + "\n")
            done.append(self.score(network, len(done), seed))
            text = json.dumps(done) + " " * self.ballast
            write_atomic(path, text, kind=RunError)
        return done[rung]

    def score(self, network, rung, seed):
        size = cost(network, 32).params / 1e6
        noise = random.Random(f"{network.key} {seed}").uniform(-0.5, 0.5)
        learned = 0.1 * rung if self.falls else 0.1 / (1 + rung)
        accuracy = 0.9 - 0.4 / (1 + size) - learned + self.noise * noise
        return {"accuracy": accuracy, "seconds": self.pause * (rung + 1), "images": 100 * 3**rung}

    def test(self, architecture, *, directory):
        return json.loads((Path(directory) / "world.json").read_text())[-1]["accuracy"] - 0.01

    def describe(self):
        if self.fails == "start" and in_a_worker():
            raise ModuleNotFoundError("no such module")
        return Description(
            settings={"rungs": self.rungs}, data="none", rungs=self.rungs, val_images=self.images
        )


def in_a_worker():
    """Whether this is a Ray worker, not the driver."""
    from ray._private.worker import WORKER_MODE, global_worker

    return global_worker.mode == WORKER_MODE


def raises(error):
    raise error


def hang(number):
    """One worker hangs in native code with the GIL in its hands, the other is stopped whole."""
    if number % 2:
        ctypes.PyDLL(None).sleep(3600)
    os.kill(os.getpid(), signal.SIGSTOP)


def of_torch(name):
    """Imported by those who use it only: it takes a worker two seconds."""
    import torch

    return getattr(torch, name)


FAILURES = {
    "raise": lambda number: raises(ValueError("this one does not train")),
    "nan": lambda number: None,
    "exit": lambda number: os._exit(1),
    "hang": hang,
    "host memory": lambda number: bytearray(1 << 60),
    "torch's host memory": lambda number: of_torch("empty")(1 << 60),
    "GPU memory": lambda number: raises(of_torch("OutOfMemoryError")(
        f"CUDA out of memory. Tried to allocate {number}.00 GiB. GPU 0 has a total capacity of "
        "79.10 GiB of which 1.50 GiB is free. Of the allocated memory 70.00 GiB is allocated by"
    )),
    "lost GPU": lambda number: raises(RuntimeError(
        "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be\nX"
    )),
}  # fmt: skip


# Ray's workers cannot import a test's helper: send the class itself.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
