"""What docs/dense.md prints is what the code gives."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dilnas.cli.app import app
from dilnas.cost import cost
from dilnas.space import SearchSpace
from dilnas.space_costs import costs_of
from dilnas.variants import variant

PAGE = (Path(__file__).parents[2] / "docs" / "dense.md").read_text(encoding="utf-8")
SMALLER, LARGER = (224, 224), (800, 1280)
MORE = 800 * 1280 / 224**2
SAMPLED = 20_000


def test_the_table_is_the_commands_output() -> None:
    """Line by line, but for blanks and where lines are folded."""
    command = re.search(r"`dilnas (profile [^`]+)`:", PAGE)
    assert command
    done = CliRunner().invoke(app, command[1].split(), env={"COLUMNS": "120"})
    (shown,) = re.findall(r"^```\n(small .*?)^```$", PAGE, re.M | re.S)
    assert done.stdout.split() == shown.split()


def test_the_growth_of_the_papers_small_is_as_printed() -> None:
    """GFLOPs of the products in both attentions and of all, at both sizes."""
    costs = [cost(variant("small"), *size) for size in (SMALLER, LARGER)]
    for kind, word in (("global", "global attention's"), ("msda", "MSDA's")):
        small, large = (
            sum(row.operators["matmul"] for row in found.rows if row.kind == kind)
            for found in costs
        )
        (line,) = re.findall(rf"^\| Small, {word} products .*$", PAGE, re.M)
        shown = [float(text) for text in re.findall(r"([\d.]+)(?= GFLOPs| %| \|$)", line)]
        expected = [
            small / 1e9, 100 * small / costs[0].flops, large / 1e9, 100 * large / costs[1].flops,
            large / small,
        ]  # fmt: skip
        assert shown == pytest.approx(expected, rel=0.02)
    assert f"| {costs[1].flops / costs[0].flops:.1f} |" in PAGE


def test_the_shares_of_the_default_space_are_as_printed() -> None:
    """Within the sampling error: who fits, and how much global attention they have."""
    space = SearchSpace.load("dilateformer")
    codes = space.sample(SAMPLED, 1)
    lines = re.findall(r"^\| [\d.]+ GFLOPs at .*$", PAGE, re.M)
    rows = [re.findall(r"([\d.]+) %", line) for line in lines]
    gflops = [costs_of(space, codes, size)["gflops"] for size in (SMALLER, LARGER)]
    for (fit, blocks, second), found, limit in zip(rows, gflops, (4, 81.6), strict=True):
        within = found <= limit
        assert 100 * within.mean() == pytest.approx(float(fit), abs=1.5)
        some = [space.decode(code).stages for code in codes[within][:1500]]
        depth = [sum(s.depth for s in stages) for stages in some]
        share = np.mean(
            [sum(s.global_depth for s in st) / d for st, d in zip(some, depth, strict=True)]
        )
        assert 100 * share == pytest.approx(float(blocks), abs=2)
        assert 100 * np.mean([st[1].global_depth > 0 for st in some]) == pytest.approx(
            float(second), abs=4
        )
    ranks = [np.argsort(np.argsort(found)) for found in gflops]
    assert np.corrcoef(*ranks)[0, 1] == pytest.approx(0.67, abs=0.02)
    assert limit == pytest.approx(4 * MORE, rel=1e-3)
