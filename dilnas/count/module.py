"""Any module counted, and what each counter does not see in it; the module stays as it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib.metadata import version

from torch import nn

from dilnas.count.blind import observe
from dilnas.count.copies import copy_of, first_line, sample_for
from dilnas.count.identities import CONVENTIONS
from dilnas.count.reconciling import COUNTERS, RUNNERS, checked_counters
from dilnas.errors import DependencyError, InputError

__all__ = ["ModuleCount", "count_module"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleCount:
    """One counter on one module, for one input.

    Attributes:
        counter: "fvcore", "ptflops (aten)", "torch".
        version: of the package.
        convention: what it counts, in words.
        by_operator: counts by operator, in the counter's own names and unit.
        device: "meta", or "cpu" where the module or the counter needs real numbers.
        blind_to: what it did not see, a sentence each.
        note: why it did not count on ``meta`` although it can; empty otherwise.
    """

    counter: str
    version: str
    convention: str
    by_operator: dict[str, int]
    device: str
    blind_to: tuple[str, ...]
    note: str = ""

    @property
    def total(self) -> int:
        """The counter's total, in its own unit."""
        return sum(self.by_operator.values())


def count_module(
    module: nn.Module, shape: tuple[int, ...], counters: Iterable[str] = COUNTERS
) -> tuple[ModuleCount, ...]:
    """What ``counters`` say of one forward pass of a copy of ``module``, in evaluation mode.

    The copy has no hooks; weights, buffers, gradients, mode, hooks and random states of ``module``
    are not touched. Where it runs on ``meta``, nothing is computed and torch takes plain matrix
    products for attention, which counters see; otherwise the copy runs on the CPU.

    Args:
        module: takes one tensor.
        shape: of one input, without the batch: (3, 224, 224).
        counters: of "fvcore", "ptflops" and "torch".

    Raises:
        InputError: an unknown counter, a module that cannot be copied, or a forward pass that
            fails, plainly or under the counter.
        DependencyError: a counter that cannot be imported.
    """
    return tuple(_count(name, module, shape) for name in checked_counters(counters))


def _count(name: str, module: nn.Module, shape: tuple[int, ...]) -> ModuleCount:
    note = ""
    if RUNNERS[name][1] == "meta":
        try:
            return _count_on(name, module, shape, "meta")
        except (DependencyError, InputError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever needs numbers: the CPU has them
            note = f"not counted on meta: {first_line(error)}"
    try:
        return replace(_count_on(name, module, shape, "cpu"), note=note)
    except (DependencyError, InputError):
        raise
    except Exception as error:
        raise InputError(
            f"a forward pass under {name} failed: {first_line(error)}",
            where=type(module).__name__, got=f"an input of {(1, *shape)}",
        ) from error  # fmt: skip


def _count_on(name: str, module: nn.Module, shape: tuple[int, ...], device: str) -> ModuleCount:
    """Count a copy on ``device``; whatever its forward pass raises comes through."""
    convention = CONVENTIONS[name]
    copied = copy_of(module, device)
    sample = sample_for(copied, shape, device)
    counts, spots = observe(copied, sample, name)
    return ModuleCount(
        counter=convention.name,
        version=version(convention.package),
        convention=convention.words,
        by_operator=counts,
        device=device,
        blind_to=tuple(spot.sentence for spot in spots),
    )
