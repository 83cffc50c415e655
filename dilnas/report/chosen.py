"""Which profiles a table shows, and in what order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dilnas.errors import InputError
from dilnas.measure.published import variant_of
from dilnas.records import Profile
from dilnas.variants import VARIANTS

__all__ = ["device_title", "select_profiles", "sorted_profiles"]

NO_DEVICE = "no device: exact cost only"
DTYPES = ("fp32", "tf32", "fp16", "bf16")
RUNS = ("eager", "compile", "graph")


def device_title(profile: Profile) -> str:
    """Name of the device that it was measured on; what stands for it where there is none."""
    if profile.environment:
        return profile.environment.device_name
    device = profile.workload.device  # a failure may have come before anything was known of it
    return NO_DEVICE if device == "none" else device


def select_profiles(
    profiles: Iterable[Profile], *, device: str = "", name: str = ""
) -> tuple[Profile, ...]:
    """Those whose device and name contain the words, upper and lower case alike.

    Raises InputError with what there is when none is left.
    """
    given = tuple(profiles)
    chosen = given
    for option, word, key in (("--device", device, device_title), ("--name", name, _name)):
        found = tuple(p for p in chosen if word.casefold() in key(p).casefold())
        if not found:
            there = " | ".join(sorted(set(map(key, chosen))))
            raise InputError("no profile has that", where=option, expected=there, got=word)
        chosen = found
    return chosen


def sorted_profiles(profiles: Iterable[Profile]) -> list[Profile]:
    """By device, network (the paper's first, others by size), image, dtype, run, MSDA, batch."""
    return sorted(profiles, key=_order)


def _name(profile: Profile) -> str:
    return profile.name


def _order(profile: Profile) -> tuple[Any, ...]:
    w, known = profile.workload, list(VARIANTS)
    variant = variant_of(profile.architecture)
    return (
        profile.environment is None,
        device_title(profile).casefold(),
        known.index(variant) if variant else len(known),
        profile.cost.params if variant is None else 0,
        profile.architecture.key,
        w.height * w.width,
        _place(w.dtype, DTYPES),
        w.mode,
        _place(w.compile, RUNS),
        w.channels_last,
        w.threads,
        profile.msda not in ("", "auto"),
        profile.msda,
        w.batch_size,
    )


def _place(word: str, known: tuple[str, ...]) -> int:
    return known.index(word) if word in known else len(known)
