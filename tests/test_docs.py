"""What the pages under docs/ say is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dilnas.cli.app import app
from dilnas.cost import cost
from dilnas.records import OPERATORS
from dilnas.runs import RunDirectory
from dilnas.variants import VARIANTS

DOCS = Path(__file__).parent.parent / "docs"
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
NUMBERS, SEARCH = PAGES["numbers.md"], PAGES["search.md"]


COMMANDS = (
    ["profile"], ["compare"], ["calibrate"], ["predict"], ["search"], ["export"], ["train"],
    ["report"], ["space", "show"], ["space", "sample"], ["bench", "search"],
)  # fmt: skip

PLAIN = frozenset(("--help", "--seed", "--json", "--latency"))
"""Options that their line of help explains."""

OTHER_PROGRAMS = frozenset(
    (
        "--aug-repeats",
        "--config",
        "--data-dir",
        "--lr",
        "--model",
        "--model-kwargs",
        "--nproc-per-node",
    )
)
"""Options of timm's train script and of torchrun."""


def python_blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)


@pytest.mark.parametrize(
    "name",
    [name for name, page in PAGES.items() if python_blocks(page) and name != "tutorial.md"],
)  # the tutorial's go with its commands: test_tutorial.py
def test_the_python_examples_run(name: str) -> None:
    """Every name in them exists and their assertions hold."""
    for text in python_blocks(PAGES[name]):
        exec(compile(text, name, "exec"), {})  # noqa: S102 - our own file


def test_the_counts_of_the_papers_variants_are_those_of_the_closed_form() -> None:
    """Each row of the table, to the last integer."""
    table = {
        cells[0].strip("* "): [int(cell.strip("* ").replace(",", "")) for cell in cells[1:]]
        for line in NUMBERS.splitlines()
        if re.match(r"\| [\w* ]+ \| [\d,*]+ \| [\d,*]+ \| [\d,*]+ \|$", line)
        and (cells := [cell.strip() for cell in line.strip("|").split("|")])
    }
    costs = [cost(VARIANTS[name]) for name in ("tiny", "small", "base")]
    assert table["parameters"] == [c.params for c in costs]
    assert table["FLOPs"] == [c.flops for c in costs]
    for name in OPERATORS:
        assert table[name] == [c.by_operator[name] for c in costs]


def test_the_identities_of_other_counters_hold_for_tiny() -> None:
    """What each prints is the sum that stands beside it."""
    c = cost(VARIANTS["tiny"])
    linear, matmul = c.by_operator["conv"] + c.by_operator["linear"], c.by_operator["matmul"]
    biases = 7_621_480 + 3_302_208
    for figure in (
        linear, matmul, c.flops, 2 * (linear + matmul), linear + matmul + biases, 2 * linear,
        linear + biases,
    ):  # fmt: skip
        assert f"{figure:,}" in NUMBERS


def test_the_rungs_named_are_those_of_the_proxies() -> None:
    """Images seen at each rung of the quick and the standard proxy."""
    from dilnas.train import PROXIES

    text = " ".join(SEARCH.split())
    for name in ("quick", "standard"):
        *some, last = (f"{images:,}" for images in PROXIES[name].images)
        assert f"`{name}`: {', '.join(some)} and {last}" in text


def test_every_column_of_the_csv_files_is_explained() -> None:
    """Of front.csv, trials.csv, spend.csv and history.csv."""
    from dilnas.search.accounts import HISTORY_COLUMNS, SPEND_COLUMNS
    from dilnas.search.results import FRONT_COLUMNS, TRIAL_COLUMNS

    for column in (*FRONT_COLUMNS, *TRIAL_COLUMNS, *SPEND_COLUMNS, *HISTORY_COLUMNS):
        assert f"`{column}`" in SEARCH, column


def test_every_file_named_is_one_of_a_run_directory() -> None:
    """The names that RunDirectory has."""
    run = RunDirectory(Path("runs/NAME"))
    for path in (run.run_json_path, run.ledger_path, run.front_csv, run.trials_csv):
        assert f"`{path.name}`" in SEARCH
    for path in (run.report_html, run.spend_csv, run.history_csv):
        assert f"`{path.name}`" in SEARCH


@pytest.mark.parametrize("name", PAGES)
def test_every_option_and_link_of_a_page_exists(name: str) -> None:
    """An option in the text is one of some command; a link leads to a file."""
    runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    helped = "".join(runner.invoke(app, [*command, "--help"]).stdout for command in COMMANDS)
    ours = re.sub(r"^(tensorboard|optuna-dashboard|ray start) .*$", "", PAGES[name], flags=re.M)
    named = set(re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", ours))
    for option in sorted(named - OTHER_PROGRAMS):
        assert option in helped, option
    for target in re.findall(r"\]\(((?!https?:)[^)#]+)\)", PAGES[name]):
        assert (DOCS / target).exists(), target


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_option_of_a_command_stands_in_some_page(command: list[str]) -> None:
    """But for those that need no more than their line of help."""
    runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    pages = "".join(PAGES.values())
    helped = runner.invoke(app, [*command, "--help"]).stdout
    options = set(re.findall(r"^│ (--[a-z][a-z-]+)", helped, re.M)) - PLAIN
    assert [option for option in sorted(options) if option not in pages] == []
