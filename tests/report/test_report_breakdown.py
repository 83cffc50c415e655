"""A breakdown as text and as a roofline page: golden text, every row shown, no text obeyed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from dilnas.errors import DependencyError, InputError
from dilnas.measure import profile
from dilnas.records import Breakdown, BreakdownRow, DeviceRates, Environment, Profile, Workload
from dilnas.report.breakdown import breakdown_rows, breakdown_view
from dilnas.report.roofline import write_roofline
from dilnas.report.roofline_figure import roofline_figure

GOLDEN = Path(__file__).parent / "golden"
EVIL = "<script>alert('x')</script>&\"[red]"


def row(name: str, time_ms: float, macs: int, moved: int, copy_ms: float = 0.0) -> BreakdownRow:
    return BreakdownRow(
        name=name, time_s=time_ms / 1e3, macs=macs, moved_bytes=moved, copy_s=copy_ms / 1e3
    )


PARTS = (
    row("stem", 12.0, 441_000_000, 49_900_000),
    row("stage 1", 24.0, 476_000_000, 80_800_000, 3.0),
    row("stage 2", 60.0, 2_245_000_000, 176_600_000),
    row("head", 1.0, 1_000_000, 2_700_000),
    row("outside", 3.0, 0, 0),
)
OPERATORS = (
    row("linear", 55.0, 2_286_000_000, 124_100_000, 2.0),
    row("conv", 20.0, 865_000_000, 48_200_000),
    row("msda", 12.0, 12_000_000, 10_800_000, 4.0),
    row("gelu", 6.0, 0, 50_400_000),
    row("add", 1.0, 0, 76_500_000),
    row("copy", 1.0, 0, 0, 1.0),
    row("other", 5.0, 0, 0),
)
SHOWN = Breakdown(
    parts=PARTS,
    operators=OPERATORS,
    total_s=0.1,
    plain_s=0.095,
    rates=DeviceRates(
        macs_per_s=52e9, bytes_per_s=29e9, doubts=("noisy roof: the median is slower",)
    ),
    bottleneck="Linear layers take 55% of the time. [bold]not markup[/bold]",
    method="torch.profiler, mean of the middle half of 12 batches",
    doubts=("other processes used 1.0 of 2 cores meanwhile",),
)


def text_of(shown: Breakdown, width: int = 80, *, doubts: bool = True) -> str:
    """As a pipe gets it, without spaces at line ends."""
    console = Console(width=width, no_color=True, force_terminal=False, highlight=False)
    with console.capture() as captured:
        console.print(breakdown_view(shown, doubts=doubts))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def a_profile(name: str = "tiny", breakdown: Breakdown | None = SHOWN) -> Profile:
    return replace(
        profile("tiny", latency=False),
        name=name,
        workload=Workload(batch_size=8, height=224, width=320, device="cpu"),
        environment=Environment(
            device_name=f"Replay {name} CPU", platform="any", python="3.11.0", torch="2.13.0",
            dilnas="0", threads=2,
        ),
        breakdown=breakdown,
    )  # fmt: skip


def test_the_view_is_as_it_was() -> None:
    """Tables, roofs, bottleneck, method and doubts at 80 columns; nothing is read as markup."""
    path = GOLDEN / "breakdown.txt"
    text = text_of(SHOWN)
    if os.environ.get("DILNAS_OVERWRITE_GOLDEN") == "1":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
    assert "[bold]not markup[/bold]" in text


def test_the_view_fits_80_columns_at_any_size_of_number() -> None:
    """A training step of minutes with thousands of GMACs still shows every figure whole."""
    large = replace(
        SHOWN,
        parts=tuple(
            replace(r, time_s=r.time_s * 900, macs=r.macs * 900, moved_bytes=r.moved_bytes * 900)
            for r in PARTS
        ),
        total_s=90.0,
    )
    text = text_of(large)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "54000.00" in text


def test_doubts_can_be_left_to_the_caller() -> None:
    """Those of the roofs stay: nobody else shows them."""
    text = text_of(SHOWN, doubts=False)
    assert "other processes" not in text
    assert "doubt: roofs: noisy roof" in text


def test_a_whole_model_has_one_table() -> None:
    """Where operators cannot be told apart the same row is not shown twice."""
    whole = (row("whole model", 100.0, 3_000_000_000, 300_000_000),)
    text = text_of(replace(SHOWN, parts=whole, operators=whole))
    assert text.count("whole model") == 1
    assert "total" not in text


def test_rows_are_plain_and_sum_to_the_whole() -> None:
    """Shares of each kind sum to 1; a row that must do nothing is near no roof."""
    rows = breakdown_rows(SHOWN)
    for kind in ("part", "operator"):
        own = [r for r in rows if r["kind"] == kind]
        assert sum(r["time_share"] for r in own) == pytest.approx(1)
    (nothing,) = [r for r in rows if r["name"] == "copy"]
    assert nothing["attained"] is None
    assert nothing["bound"] is None
    (linear,) = [r for r in rows if r["name"] == "linear"]
    assert linear["bound"] == "compute"
    assert linear["attained"] == pytest.approx(2.286e9 / 52e9 / 0.055)


def test_the_figure_holds_every_row_where_its_figures_put_it() -> None:
    """Intensity, rate and size of each mark; roofs that meet in the knee; bars for the rest."""
    roof, operators, again, parts, bars = roofline_figure([("tiny", SHOWN)]).data
    knee = 52e9 / 29e9
    for line in (roof, again):
        assert line.x[1] == pytest.approx(knee)
        assert line.y[1] == line.y[2] == pytest.approx(52)
        assert line.y[0] / line.x[0] == pytest.approx(29)
        assert line.x[0] < min(parts.x)
        assert max(operators.x) < line.x[2]
    by_name = dict(zip(operators.text, range(3), strict=True))
    assert set(by_name) == {"linear", "convolution", "MSDA"}
    i = by_name["linear"]
    assert operators.x[i] == pytest.approx(2286 / 124.1)
    assert operators.y[i] == pytest.approx(2.286 / 0.055)
    sizes = [operators.marker.size[by_name[n]] for n in ("linear", "convolution", "MSDA")]
    assert sizes == sorted(sizes, reverse=True)
    assert len(parts.x) == 4
    assert "" in parts.text  # the head takes too little time for a name
    assert dict(zip(bars.x, bars.y, strict=True)) == pytest.approx({"GELU": 8.4, "sums": 76.5})


def test_the_page_needs_no_network_and_obeys_no_text(tmp_path: Path) -> None:
    """Title, device, sentences and names from records are shown as they are, escaped."""
    evil = replace(
        SHOWN,
        bottleneck=EVIL,
        doubts=(EVIL,),
        operators=(replace(OPERATORS[0], name=EVIL), replace(OPERATORS[3], name=EVIL)),
    )
    path = tmp_path / "new" / "roof.html"
    write_roofline(a_profile(EVIL, evil), path)
    page = path.read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "\\u003cscript\\u003ealert" not in page  # nor in what plotly reads
    assert page.count("&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;") >= 6
    assert not re.search(r"<(script|link|img)\s[^>]*(src|href)=", page)
    assert [p.name for p in path.parent.iterdir()] == ["roof.html"]


def test_a_page_shows_several_profiles(tmp_path: Path) -> None:
    """A table and a bottleneck each; those without a breakdown are left out."""
    path = tmp_path / "roof.html"
    write_roofline([a_profile("one"), a_profile("none", None), a_profile("two")], path)
    page = path.read_text(encoding="utf-8")
    assert page.count("<table>") == 2
    assert "<h1>one, batch 8, 224 x 320, fp32" in page
    assert "Replay one CPU, 2 threads, torch 2.13.0; Replay two CPU" in page
    assert "Replay none CPU" not in page


def test_without_a_breakdown_nothing_is_written(tmp_path: Path) -> None:
    """One line that says so."""
    with pytest.raises(InputError, match="no breakdown to draw"):
        write_roofline(a_profile(breakdown=None), tmp_path / "roof.html")
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_way_is_one_line(tmp_path: Path) -> None:
    """The file cannot be written there."""
    with pytest.raises(InputError, match="cannot be written"):
        write_roofline(a_profile(), tmp_path)


def test_a_missing_plotly_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU node, which has no plotly."""
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setitem(sys.modules, "plotly.subplots", None)
    with pytest.raises(DependencyError, match="needs plotly"):
        write_roofline(a_profile(), tmp_path / "roof.html")
    assert not list(tmp_path.iterdir())


def test_the_view_needs_neither_torch_nor_plotly() -> None:
    """Nor does importing the page's module."""
    code = (
        "import sys, dilnas.report.breakdown, dilnas.report.roofline;"
        "print([m for m in ('torch', 'numpy', 'pandas', 'plotly') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
