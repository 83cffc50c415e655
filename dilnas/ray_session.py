"""A Ray of our own on the loopback interface, or a cluster that is there already; both quiet.

Used by the search (Ray Tune) and by full training (Ray Train). ``TUNE_…`` and ``RAY_…`` variables
below silence what Ray prints into the user's terminal, and spare what it starts in vain.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dilnas.errors import DeviceError, InputError

__all__ = ["HOW_TO_JOIN", "LOOPBACK", "QUIET", "check_cluster", "ray_session"]

HOW_TO_JOIN = "RAY_AUTH_MODE=token and the cluster's token in ~/.ray/auth_token"
"""What a driver needs for a cluster that a process with authentication has started."""

CLUSTER_SECONDS = 12
"""How long a Ray cluster may take to answer."""

QUIET = {
    # A driver killed with -9 leaves Ray's agents behind: they give up after this many seconds.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # Tune and Train give their actors an environment, for which Ray starts other processes.
    "RAY_prestart_worker_first_driver": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "100000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "100000",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_WARN_SLOW_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "100000",
}

LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Set to 0, Ray binds to the loopback interface on every system; read when Ray is imported."""


@contextmanager
def ray_session(
    workers: int,
    *,
    gpus: float = 0,
    address: str | None = None,
    gpus_option: str = "--gpus-per-trial",
) -> Iterator[None]:
    """A Ray of our own on the loopback, or the cluster at ``address``; left as it was found.

    Raises DeviceError where it has not the GPUs that one worker needs.
    """
    os.environ.update(QUIET)
    if not address:
        os.environ[LOOPBACK] = "0"
    import ray

    ours = not ray.is_initialized()
    if ours:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address:
            options |= {"address": address}
        else:
            options |= {
                # "local": also beside a cluster that somebody has started on this machine.
                "address": "local", "num_cpus": workers, "include_dashboard": False,
                "_node_ip_address": "127.0.0.1",
            }  # fmt: skip
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            text = str(error).strip().split("\n")[0]
            if address and _wants_token(error):
                raise InputError(
                    "this Ray cluster asks for a token", where="--address", expected=HOW_TO_JOIN,
                    got=address,
                ) from error  # fmt: skip
            if address:
                raise InputError(f"no Ray cluster: {text}", where="--address") from error
            raise DeviceError(f"Ray does not start: {text}", where="this machine") from error
        ray._private.worker.print_to_stdstream = _discard
    try:
        have = ray.cluster_resources().get("GPU", 0)
        if gpus > have:
            raise DeviceError(
                "a worker needs more GPUs than there are", where=gpus_option,
                expected=f"<= {have:g}", got=gpus,
            )  # fmt: skip
        yield
    finally:
        if ours:
            ray.shutdown()


def _wants_token(error: BaseException | None) -> bool:
    """Whether a cluster was there and refused a driver that showed it no token."""
    while error is not None:
        if "RAY_AUTH_MODE" in str(error):  # what Ray says, under several types
            return True
        error = error.__cause__ or error.__context__
    return False


def _discard(*_: Any, **__: Any) -> None:
    """In place of what writes "(raylet) A worker died …" to stdout: the ledger has the reason."""


def check_cluster(address: str) -> None:
    """Raise InputError unless a Ray cluster answers at HOST:PORT, or "auto".

    Asked in a process of its own: Ray's client retries for minutes and logs into the terminal.
    """
    host, _, port = address.rpartition(":")
    known = address == "auto" or (host and port.isdecimal() and "/" not in host)
    if not known:
        raise InputError(
            "must be a Ray cluster", where="--address", expected="HOST:PORT | auto", got=address
        )
    try:
        if address != "auto":  # a closed port is known at once
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"no Ray cluster answers: {error}", where="--address", got=address
        ) from error
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=CLUSTER_SECONDS)  # noqa: S603
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = (error.stdout or b"") + (error.stderr or b"")
        if b"authentication" in said.lower():
            raise InputError(
                "this Ray cluster asks for a token",
                where="--address",
                expected=HOW_TO_JOIN,
                got=address,
            ) from error
        raise InputError("no Ray cluster answers", where="--address", got=address) from error
