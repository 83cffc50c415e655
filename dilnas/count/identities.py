"""How each counter's convention differs from the closed form, as numbers that it must equal.

With C = conv + linear, A = matmul (multiply-adds) and BN, LN elements of the norms:

    fvcore = C + A + 2·BN + 5·LN        ptflops (aten) = C + A + biases        torch = 2 (C + A)
"""

from __future__ import annotations

from dataclasses import dataclass

from dilnas.arch import Architecture
from dilnas.cost.formulas import BY_BLOCK, BY_STAGE
from dilnas.records import OPERATORS, Cost, CounterRow

__all__ = ["CONVENTIONS", "Convention", "bias_additions", "explained_rows"]

PRODUCTS = ("conv", "linear", "matmul")


@dataclass(frozen=True, slots=True, kw_only=True)
class Convention:
    """What a counter counts: operations a multiply-add, whether biases and norms count."""

    name: str
    package: str
    words: str
    per_mac: int
    biases: bool
    norms: bool


CONVENTIONS = {
    "fvcore": Convention(
        name="fvcore", package="fvcore", per_mac=1, biases=False, norms=True,
        words="a multiply-add is 1, batch norm 2 and layer norm 5 an element; no biases",
    ),
    "ptflops": Convention(
        name="ptflops (aten)", package="ptflops", per_mac=1, biases=True, norms=False,
        words="a multiply-add is 1, adding a bias 1; no norms",
    ),
    "torch": Convention(
        name="torch", package="torch", per_mac=2, biases=False, norms=False,
        words="a multiply-add is 2; no biases, no norms",
    ),
}  # fmt: skip


def explained_rows(
    convention: Convention, counted: dict[str, int], exact: Cost, biases: dict[str, int]
) -> tuple[CounterRow, ...]:
    """A row an operator that the counter or the closed form knows.

    ``counted`` is by operator in the closed form's names; a name that it does not have (a
    counter's own) has the closed form 0, and all of it is residual.
    """
    closed = exact.by_operator
    names = [name for name in OPERATORS if name in closed or name in counted]
    names += [name for name in counted if name not in OPERATORS]
    return tuple(
        _row(convention, name, counted.get(name, 0), closed.get(name, 0), biases.get(name, 0))
        for name in names
    )


def _row(convention: Convention, name: str, counted: int, closed: int, biases: int) -> CounterRow:
    explained, why = 0, ""
    if name in PRODUCTS and convention.per_mac != 1:
        explained, why = (convention.per_mac - 1) * closed, "a multiply-add is two operations"
    elif name in PRODUCTS and convention.biases and biases:
        explained, why = biases, "adding a bias counts 1 an output"
    elif name in OPERATORS and name not in PRODUCTS and not convention.norms:
        explained, why = -closed, "norms are not counted"
    return CounterRow(
        operator=name, counted=counted, closed_form=closed, explained=explained, why=why
    )


def bias_additions(architecture: Architecture, height: int, width: int) -> dict[str, int]:
    """Additions of biases for one image: outputs of the layers that have one, conv and linear.

    The q, k, v projection of an MSDA block is a convolution, that of a global block a linear
    layer. Of the stems only the single convolution has a bias; between stages each has one.
    """
    stages = architecture.stages
    tokens = (height // 4) * (width // 4)
    conv = stages[0].dim * tokens if architecture.stem == "nonoverlapping" else 0
    linear = architecture.num_classes
    for i, stage in enumerate(stages):
        size = stage.dim * tokens
        qkv = 3 * size * architecture.qkv_bias
        conv += stage.msda_depth * qkv
        conv += stage.depth * size * (architecture.pos_embed in BY_BLOCK)
        linear += stage.global_depth * qkv
        linear += stage.depth * (2 * size + stage.mlp_hidden * tokens)  # projection and MLP
        tokens //= 4
        if i + 1 < len(stages):
            after = stages[i + 1].dim * tokens
            conv += after * (1 + (architecture.pos_embed in BY_STAGE))
    return {"conv": conv, "linear": linear}
