"""Where a profile lies in a folder of profiles: ``<device>/<name>-<workload>.json``."""

from __future__ import annotations

import re
import unicodedata

from dilnas.records.profile import Profile
from dilnas.records.workload import Workload
from dilnas.variants import VARIANTS

__all__ = ["device_slug", "profile_path", "workload_slug"]

NO_DEVICE = "no-device"
"""Folder of profiles that hold the exact cost alone."""

_LONGEST = 60


def profile_path(profile: Profile) -> str:
    """Relative path with forward slashes, of lower-case letters, digits, dots and dashes only.

    The same device, network, workload and MSDA give the same path, so that a new measurement
    replaces the older one; networks that share a name differ by the first digits of their key.

        nvidia-h200/tiny-b64-224-bf16-compile.json
        nvidia-h200/base-b128-224-bf16-msda-matmul.json
        amd-epyc-7b13/runs-first-12-3f2a9c01-b1-800x1280-fp32-t2.json
    """
    device = device_slug(profile.environment.device_name) if profile.environment else NO_DEVICE
    name = _slug(profile.name)
    if VARIANTS.get(profile.name) != profile.architecture:
        key = profile.architecture.key
        name = f"{name}-{key[:8]}" if name != key else key
    # Which code ran is no part of the workload, but another measurement all the same.
    msda = f"-msda-{_slug(profile.msda)}" if profile.msda not in ("", "auto") else ""
    return f"{device}/{name}-{workload_slug(profile.workload)}{msda}.json"


def device_slug(device_name: str) -> str:
    """A device's name as a folder's: ``NVIDIA H200`` gives ``nvidia-h200``."""
    return _slug(device_name)


def workload_slug(workload: Workload) -> str:
    """Batch, image and dtype, then whatever is not the default (see Workload)."""
    w = workload
    words = [
        f"b{w.batch_size}",
        f"{w.height}" if w.height == w.width else f"{w.height}x{w.width}",
        w.dtype,
        "" if w.mode == "inference" else w.mode,
        "" if w.compile == "eager" else w.compile,
        "channels-last" if w.channels_last else "",
        f"t{w.threads}" if w.threads else "",
    ]
    return "-".join(word for word in words if word)


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    plain = re.sub(r"\((r|tm|c)\)", " ", plain)
    return re.sub(r"[^a-z0-9]+", "-", plain)[:_LONGEST].strip("-") or "unnamed"
