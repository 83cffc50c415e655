"""The pages of ``dilnas report`` in a real browser: they load, hover, click, and ask nobody."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import chromium, complaints, requested, set_screen, shot

from dilnas.report import RunComparison, write_report
from dilnas.runs import RunDirectory

EXAMPLE = Path(__file__).parents[1] / "reference" / "older_run"
EVIL = "</script><img src=x onerror=alert(1)> & <b>\u2028"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One browser for all tests of this module."""
    with chromium(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


def copied(folder: Path) -> RunDirectory:
    """The committed example run, elsewhere."""
    shutil.copytree(EXAMPLE, folder)
    return RunDirectory(folder)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the example run."""
    return write_report(copied(tmp_path_factory.mktemp("runs") / "dilateformer-4gflops"))


def opened(browser: Any, page: Path, width: int = 1280, height: int = 900, *, dark: bool = False):
    set_screen(browser, width, height, dark=dark)
    complaints(browser), requested(browser)
    if browser.current_url == page.as_uri():  # as it was when it was opened, which takes a second
        browser.execute_script(
            "for (const axis of ['x', 'y']) {"
            " document.getElementById(`${axis}-axis`).value = data[axis]; } redraw();"
        )
    else:
        browser.get(page.as_uri())
    ready = "return document.querySelectorAll('#front-chart .scatterlayer, #fronts .scatterlayer')"
    wait(browser, f"{ready}.length")


def wait(browser: Any, script: str) -> Any:
    """What a script returns once it is true."""
    ui = pytest.importorskip("selenium.webdriver.support.ui")
    return ui.WebDriverWait(browser, 60).until(lambda driver: driver.execute_script(script))


def clean(browser: Any, page: Path) -> bool:
    """No complaint in the console, and no request but for the page itself."""
    assert complaints(browser) == []
    assert set(requested(browser)) <= {page.as_uri()}
    return True


def move_to(browser: Any, trial: int, *, click: bool = False) -> None:
    """Put the mouse over a trial of the chart."""
    actions = pytest.importorskip("selenium.webdriver").ActionChains(browser)
    x, y = browser.execute_script(
        "const plot = document.getElementById('front-chart'), full = plot._fullLayout;"
        "const point = data.points.find((one) => one.trial === arguments[0]);"
        "plot.scrollIntoView({block: 'center'}); const box = plot.getBoundingClientRect();"
        "return [box.left + full.xaxis._offset + full.xaxis.d2p(value(point, chosen('x'))),"
        " box.top + full.yaxis._offset + full.yaxis.d2p(value(point, chosen('y')))]",
        trial,
    )
    actions.w3c_actions.pointer_action.move_to_location(int(x) - 3, int(y))
    actions.w3c_actions.pointer_action.move_to_location(round(x), round(y))
    if click:
        actions.w3c_actions.pointer_action.click()
    actions.perform()


def text_of(browser: Any, selector: str) -> str:
    return browser.execute_script(
        "return document.querySelector(arguments[0])?.textContent || ''", selector
    )


def test_the_report_loads_without_a_complaint_and_without_a_network(browser, page, tmp_path):
    """Every chart is drawn; the console is empty; nothing but the file is asked for."""
    opened(browser, page)
    charts = browser.execute_script(
        "return [...document.querySelectorAll('.chart')].map((one) => [one.id,"
        " one.querySelectorAll('.main-svg').length])"
    )
    assert {name for name, _ in charts} == {
        "front-chart", "parallel-chart", "importance-chart", "curves-chart", "growth-trials",
        "growth-seconds",
    }  # fmt: skip
    assert all(drawn for _, drawn in charts)
    assert clean(browser, page)
    shot(browser, "report-light", tmp_path)


def test_hovering_shows_the_architecture_and_a_click_picks_it(browser, page):
    """The hover text has the layout; the picked one has its drawing and its export command."""
    opened(browser, page)
    move_to(browser, 24)
    wait(browser, "return document.querySelector('.hoverlayer .hovertext')?.textContent")
    hovered = text_of(browser, ".hoverlayer .hovertext")
    assert "trial 24" in hovered and "D1 D1 G2 G1" in hovered and "48 192 384 768" in hovered
    move_to(browser, 24, click=True)
    wait(browser, "return document.querySelector('#picked h3').textContent.includes('trial 24')")
    command = text_of(browser, "#picked code")
    assert command.startswith("dilnas export ") and command.endswith(" --pick 24")
    stages = browser.execute_script(
        "return [...document.querySelectorAll('#picked .stage')].map((one) => [one.textContent,"
        " one.querySelectorAll('rect.msda').length, one.querySelectorAll('rect.global').length])"
    )
    assert [counts[1:] for counts in stages] == [[1, 0], [1, 0], [0, 2], [0, 1]]
    assert "48 channels" in stages[0][0] and "56 × 56" in stages[0][0]
    assert "dilations 1, 3, 5" in stages[1][0]
    assert browser.execute_script(
        "return [...document.querySelectorAll('tr.picked')].map((row) => row.dataset.trial)"
    ) == ["24", "24"]  # in the front's table and in that of all trials
    assert clean(browser, page)


def test_a_row_of_the_table_picks_too(browser, page):
    """With the mouse or the keyboard: its number is a button."""
    opened(browser, page)
    browser.execute_script("document.querySelector('tr[data-trial=\"15\"] button').click()")
    assert "trial 15" in text_of(browser, "#picked h3")
    assert text_of(browser, "#picked code").endswith("--pick 15")


def test_axes_are_chosen_from_what_the_run_has(browser, page):
    """The titles follow; measured latency and energy are not offered where nobody measured."""
    opened(browser, page)
    names = browser.execute_script(
        "return [...document.querySelectorAll('#x-axis option')].map((one) => one.value)"
    )
    assert {"gflops", "mparams", "memory_mb", "final_accuracy", "test_accuracy"} <= set(names)
    assert not [name for name in names if name.endswith(("_ms", "_mj"))]
    for axis, name, title in (("x", "mparams", "parameters"), ("y", "final_accuracy", "mean of")):
        browser.execute_script(
            "const select = document.getElementById(arguments[0]); select.value = arguments[1];"
            "select.dispatchEvent(new Event('change'))", f"{axis}-axis", name,
        )  # fmt: skip
        shown = f"return document.querySelector('.{axis}title').textContent.includes('{title}')"
        wait(browser, shown)
    bars = browser.execute_script(
        "return document.querySelectorAll('#front-chart .errorbar').length"
    )
    assert bars >= 7  # the re-trained means with their spread
    assert clean(browser, page)


def test_groups_of_trials_differ_in_shape_and_colour(browser, page):
    """Each group of the legend."""
    opened(browser, page)
    looks = browser.execute_script(
        "return document.getElementById('front-chart').data.filter((one) => one.customdata)"
        ".map((one) => [one.name, one.marker.symbol, one.marker.color])"
    )
    assert [name for name, _, _ in looks] == [
        "rejected, never trained (2)", "trained to the end (17)", "front (7)",
    ]  # fmt: skip
    assert len({symbol for _, symbol, _ in looks}) == len({ink for _, _, ink in looks}) == 3


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_phone_needs_no_scrolling_to_the_side(browser, page, tmp_path, dark):
    """Nothing reaches beyond the screen; the lettering is light on dark in the dark mode."""
    opened(browser, page, 390, 844, dark=dark)
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    assert wide <= 390
    ink = browser.execute_script(
        "return getComputedStyle(document.querySelector('#front-chart .xtitle')).fill"
    )
    red = int(ink.partition("(")[2].split(",")[0])
    assert red > 180 if dark else red < 80
    assert clean(browser, page)
    shot(browser, f"report-phone-{'dark' if dark else 'light'}", tmp_path)


def test_the_charts_follow_a_change_of_the_theme(browser, page):
    """Without loading the page again."""
    opened(browser, page)
    set_screen(browser, 1280, 900, dark=True)
    script = "return getComputedStyle(document.querySelector('#front-chart .xtitle')).fill"
    wait(browser, f"{script} === 'rgb(221, 221, 221)'")


def test_names_with_html_in_them_are_shown_and_not_obeyed(browser, tmp_path):
    """A run's name, its settings, a trial's reason, layout and origin."""
    run = copied(tmp_path / "run <img src=x onerror=alert(2)> & co")
    settings = json.loads(run.run_json_path.read_text())
    run.run_json_path.write_text(json.dumps({**settings, "space": EVIL, "data": EVIL}))
    text = run.trials_csv.read_text()
    text = text.replace("over budget: 4.613 > 4 GFLOPs", EVIL).replace(",nsc,", f',"{EVIL}",')
    run.trials_csv.write_text(text)
    page = write_report(run)
    opened(browser, page)
    assert browser.execute_script("return document.querySelectorAll('img').length") == 0
    assert "onerror=alert(1)" in text_of(browser, "body > p.dim")
    move_to(browser, 8)
    wait(browser, "return document.querySelector('.hoverlayer .hovertext')?.textContent")
    assert "<img src=x" in text_of(browser, ".hoverlayer .hovertext")
    assert clean(browser, page)


def test_a_comparison_draws_the_front_of_each_run(browser, tmp_path):
    """Told apart by colour, shape and dash; on a phone too."""
    runs = [copied(tmp_path / name) for name in ("one", "two <b>")]
    settings = json.loads(runs[1].run_json_path.read_text())
    runs[1].run_json_path.write_text(json.dumps({**settings, "proxy": "standard"}))
    page = RunComparison.of(runs).write(tmp_path / "comparison.html")
    opened(browser, page, 390, 844)
    named = browser.execute_script(
        "return document.getElementById('fronts').data.filter((one) => one.name)"
        ".map((one) => [one.marker.symbol, one.marker.color, one.line.dash])"
    )
    assert len(named) == 2 and all(a != b for a, b in zip(*named, strict=True))
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    assert "accuracies do not compare" in text_of(browser, ".warning")
    assert clean(browser, page)
    shot(browser, "comparison-phone", tmp_path)
