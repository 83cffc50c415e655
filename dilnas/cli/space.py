"""``dilnas space list | show | sample | check``: what a search may vary."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from dilnas.cli.profile_options import image_sides

if TYPE_CHECKING:
    from rich.table import Table

    from dilnas.space import SearchSpace
    from dilnas.space_costs import Latency
    from dilnas.space_report import SpaceReport

__all__ = ["app", "print_report"]

EXAMPLES = """
\b
Examples:
  dilnas space list
  dilnas space show dilateformer --budget-gflops 4
  dilnas space check my_space.yaml tiny
"""

app = typer.Typer(
    help="Search spaces: list, show, draw from, check.",
    epilog=EXAMPLES,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Name = Annotated[str, typer.Argument(help="A shipped space, or a YAML file.")]
Gflops = Annotated[float | None, typer.Option("--budget-gflops", help="At most so many GFLOPs.")]
Mparams = Annotated[
    float | None, typer.Option("--budget-mparams", help="At most so many million parameters.")
]
Mb = Annotated[
    float | None,
    typer.Option("--budget-mb", help="At most so many MB of weights and activations, fp32."),
]
Ms = Annotated[
    float | None,
    typer.Option("--budget-ms", help="At most so many predicted ms a batch; needs --profile."),
]
ProfileName = Annotated[
    str | None,
    typer.Option("--profile", metavar="NAME", help="A calibration, to predict latency by."),
]
Size = Annotated[
    str | None,
    typer.Option("--img-size", help="Side or HEIGHTxWIDTH (default: the space's own)."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the random draw.")]

UNITS = {"gflops": "GFLOPs", "mparams": "M parameters", "mb": "MB", "ms": "ms"}


@app.command("list")
def list_spaces() -> None:
    """Name the shipped spaces, their sizes and what they are for.

    \b
    Examples:
      dilnas space list
    """
    from rich.console import Console

    from dilnas.space import SearchSpace

    table = _table("space", "axes", "codes", "image", "what it is for")
    for name in SearchSpace.names():
        space = SearchSpace.load(name)
        size = f"{space.size:.3g}" if space.size >= 1_000_000 else f"{space.size:,}"
        table.add_row(name, str(len(space.axes)), size, str(space.image_size), space.description)
    Console().print(table)


@app.command()
def show(
    name: Name = "dilateformer",
    *,
    budget_gflops: Gflops = None,
    budget_mparams: Mparams = None,
    budget_mb: Mb = None,
    budget_ms: Ms = None,
    profile: ProfileName = None,
    img_size: Size = None,
    samples: Annotated[
        int, typer.Option("--samples", min=1, help="Codes to draw where there are too many.")
    ] = 100_000,
    seed: Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead.")] = False,
) -> None:
    """Show the axes, the range of costs, and the share that fits a budget.

    \b
    Examples:
      dilnas space show
      dilnas space show dilateformer --budget-gflops 4 --budget-mparams 20
      dilnas space show my_space.yaml --json
      dilnas space show dilateformer --img-size 800x1280 --budget-gflops 80
      dilnas space show --budget-ms 300 --profile NAME
    """
    from rich.console import Console

    from dilnas.space import SearchSpace
    from dilnas.space_report import Budgets, presearch_report

    space = SearchSpace.load(name)
    budgets = Budgets(gflops=budget_gflops, mparams=budget_mparams, mb=budget_mb, ms=budget_ms)
    size = None if img_size is None else image_sides(img_size)
    latency = _latency(profile, budget_ms, space, size)
    errors = Console(stderr=True)
    waiting = errors.status("evaluating costs …") if errors.is_terminal else nullcontext()
    with waiting:
        report = presearch_report(space, budgets, seed, samples, image_size=size, latency=latency)
    if as_json:
        print(json.dumps({"report": report.to_dict(), "definition": space.to_dict()}))
        return
    console = Console()
    console.print(f"[bold]{space.name}[/bold]: {space.description}", highlight=False)
    console.print()
    console.print(_axes_table(space))
    console.print()
    print_report(report, console)


def _latency(
    profile: str | None,
    budget_ms: float | None,
    space: SearchSpace,
    size: tuple[int, int] | None,
) -> Latency | None:
    """What predicts latency, if it is wanted; checked against the image."""
    from dilnas.predict.choosing import predictor_for

    found = predictor_for(
        profile, wanted="--budget-ms" if budget_ms is not None else "",
        image_size=size or space.image_size,
    )  # fmt: skip
    return None if found is None else found.seconds


def print_report(report: SpaceReport, console: object) -> None:
    """The pre-search report on a rich console; ``dilnas search`` prints the same."""
    from rich.console import Console

    assert isinstance(console, Console)
    console.print(_ranges_table(report))
    console.print()
    for line in report_lines(report):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def report_lines(report: SpaceReport) -> list[str]:
    """The report's sentences."""
    from dilnas.sizes import size_text
    from dilnas.space_report import described

    about = "" if report.unique_exact else "about "
    lines = [
        f"{report.size:,} codes, {about}{report.unique:,} distinct networks; "
        f"costs at {size_text(report.image_size)} px"
    ]
    for limit in report.limits:
        error = f" ± {limit.standard_error:.1%}" if limit.standard_error else ""
        lines.append(
            f"  at most {limit.limit:g} {UNITS[limit.name]}: {limit.share:.1%}{error} of codes, "
            f"{limit.alone_rejects:.1%} turned away by it alone"
        )
    if report.limits:
        lines.append(report.share_text())
        lines.append(
            f"binding limit: {UNITS[report.binding]}" if report.binding else "no limit binds"
        )
    lines.append(f"cheapest: {described(report.cheapest)}")
    if report.agreement is not None:
        lines.append(_agreement_text(report.agreement, report.unknown))
    if report.largest is not None:
        which = "largest" if report.exact else "largest seen"
        lines.append(f"{which}{' that fits' if report.limits else ''}: {described(report.largest)}")
    return lines


def _agreement_text(agreement: tuple[float | None, float | None], unknown: float) -> str:
    """How far GFLOPs tell the latency."""
    whole, band = ("–" if value is None else f"{value:.2f}" for value in agreement)
    text = (
        f"GFLOPs against predicted latency: rank correlation {whole}, "
        f"{band} among codes within 10 % of the median GFLOPs"
    )
    return f"{text}; {unknown:.1%} unlike what was calibrated" if unknown else text


@app.command()
def sample(
    name: Name = "dilateformer",
    *,
    n: Annotated[int, typer.Option("-n", min=1, max=10_000, help="How many.")] = 1,
    seed: Seed = 0,
    budget_gflops: Gflops = None,
    budget_mparams: Mparams = None,
    budget_mb: Mb = None,
    budget_ms: Ms = None,
    profile: ProfileName = None,
    img_size: Size = None,
) -> None:
    """Print random architectures of a space as YAML documents.

    \b
    Examples:
      dilnas space sample dilateformer -n 3 --budget-gflops 4
      dilnas space sample smoke --seed 7 > network.yaml
    """
    from dilnas.space import SearchSpace
    from dilnas.space_report import Budgets, sample_within

    space = SearchSpace.load(name)
    budgets = Budgets(gflops=budget_gflops, mparams=budget_mparams, mb=budget_mb, ms=budget_ms)
    size = None if img_size is None else image_sides(img_size)
    latency = _latency(profile, budget_ms, space, size)
    codes = sample_within(space, n, seed, budgets, image_size=size, latency=latency)
    print("---\n".join(space.decode(code).to_yaml() for code in codes), end="")


@app.command()
def check(
    file: Name,
    architecture: Annotated[
        str | None, typer.Argument(metavar="[ARCH]", help="tiny|small|base, a file, or RUN#N.")
    ] = None,
) -> None:
    """Check a space file, and whether an architecture is in it.

    Exit code 1 if the architecture is outside, 2 if the file is wrong.

    \b
    Examples:
      dilnas space check my_space.yaml
      dilnas space check dilateformer tiny
    """
    from dilnas.runs import resolve
    from dilnas.space import SearchSpace

    space = SearchSpace.load(file)
    print(f"{space.name}: valid, {len(space.axes)} axes, {space.size:,} codes")
    if architecture is None:
        return
    label, found = resolve(architecture)
    reason = space.why_not(found)
    if reason is not None:
        print(f"{label}: not in {space.name}: {reason}")
        raise typer.Exit(1)
    print(f"{label}: in {space.name}, code {' '.join(map(str, space.encode(found)))}")


def _table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column)
    return table


def _axes_table(space: SearchSpace) -> Table:
    table = _table("axis", "sets", "stages", "values")
    for axis in space.axes:
        factors = f" x {', '.join(map(str, axis.times))}" if axis.times else ""
        stages = ", ".join(map(str, axis.stages)) or "all"
        table.add_row(axis.name, axis.field, stages, "  ".join(axis.labels) + factors)
    return table


def _ranges_table(report: SpaceReport) -> Table:
    how = "of all codes" if report.exact else f"of {report.evaluated:,} sampled codes"
    table = _table(how, "min", "median", "max")
    for name, found in report.ranges.items():
        numbers = (found.minimum, found.median, found.maximum)
        table.add_row(UNITS[name], *(f"{number:.3f}" for number in numbers))
    return table
