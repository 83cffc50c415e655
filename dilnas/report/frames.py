"""Records as pandas DataFrames, a unit in every column name. pandas is imported when asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

from dilnas.records import OPERATORS, Cost, Profile
from dilnas.report.rows import profile_row

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["cost_frame", "profiles_frame"]


def cost_frame(cost: Cost) -> pd.DataFrame:
    """One row a block: name, kind, stage, map, params, flops, macs, a column an operator."""
    import pandas as pd

    rows = []
    for row in cost.rows:
        plain = asdict(row)
        operators = plain.pop("operators")
        plain |= {name: operators.get(name, 0) for name in OPERATORS}
        rows.append({**plain, "flops": row.flops, "macs": row.macs})
    return pd.DataFrame(rows)


def profiles_frame(profiles: Iterable[Profile]) -> pd.DataFrame:
    """One row a profile, for comparing architectures, workloads and devices."""
    import pandas as pd

    return pd.DataFrame([profile_row(profile) for profile in profiles])
