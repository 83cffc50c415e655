"""One self-contained HTML page around a plotly figure: it opens without a network.

Every text is given escaped, except the figure, which plotly writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from dilnas.errors import DependencyError

__all__ = [
    "chart_page",
    "figure_html",
    "html_page",
    "html_table",
    "script_json",
    "section",
    "warnings_html",
]


def figure_html(figure: Any, name: str) -> str:
    """A plotly figure as a ``div`` of that id, plotly itself (about 5 MB) inside."""
    text: str = figure.to_html(
        full_html=False, include_plotlyjs=True, div_id=name,
        config={"displayModeBar": False, "responsive": True},
    )  # fmt: skip
    return text


def html_page(*, title: str, body: str, figure: str) -> str:
    """The page; ``title`` and ``body`` are HTML, ``figure`` the id of the figure in the body.

    Follows the reader's light or dark mode, the figure's lettering too.
    """
    return _PAGE.format(title=title, body=body, figure=figure)


def chart_page(*, title: str, body: str, data: Any, script: str) -> str:
    """A page whose charts ``script`` draws from ``data``, in the reader's light or dark mode.

    plotly is inside, once, and the page may load nothing: its policy forbids every request.

    Args:
        title: HTML.
        body: HTML with the places of the charts.
        data: JSON-able, finite.
        script: name of a file beside this one.

    Raises DependencyError without plotly.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise DependencyError("a report needs plotly, which is not installed") from error
    return _CHARTS.format(
        title=title, style=_asset("page.css"), body=body, plotly=get_plotlyjs(),
        data=script_json(data), script=f"{_asset('page.js')}\n{_asset(script)}",
    )  # fmt: skip


def script_json(data: Any) -> str:
    """JSON that may stand in a ``<script>``: nothing in it ends the element or a line early."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _asset(name: str) -> str:
    return files("dilnas.report").joinpath(name).read_text(encoding="utf-8")


def section(title: str, body: str, note: str = "") -> str:
    """A part of a page: a heading, HTML, and a sentence of HTML between them."""
    said = f'<p class="dim">{note}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{said}{body}</section>"


def warnings_html(texts: Iterable[str]) -> str:
    """Each text, escaped, as a paragraph that stands out; none for an empty one."""
    return "".join(f'<p class="warning" role="status">{escape(t)}</p>' for t in texts if t)


def html_table(
    titles: Iterable[str],
    rows: Iterable[Sequence[str]],
    numeric: Sequence[bool],
    classes: Iterable[str] = (),
    *,
    trials: Iterable[int | None] = (),
    long: str = "",
) -> str:
    """A table; texts are escaped here, numeric columns aligned on the right.

    Args:
        titles: of the columns.
        rows: texts.
        numeric: whether a column is.
        classes: those of the rows, "" for none; all none if left out.
        trials: number of each row's trial, whose first cell then is a button that picks it.
        long: title of the column whose texts may have several lines.
    """
    names = list(titles)
    rows = list(rows)
    styles = [f' class="{style}"' if style else "" for style in classes] or [""] * len(rows)
    numbers = list(trials) or [None] * len(rows)

    def cells(tag: str, texts: Iterable[str], button: bool = False) -> str:
        out = ""
        for place, (text, right) in enumerate(zip(texts, numeric, strict=True)):
            kind = _NUMBER if right else _LONG if tag == "td" and names[place] == long else ""
            shown = escape(text)
            if button and place == 0:
                shown = f'<button type="button" class="link">{shown}</button>'
            out += f"<{tag}{kind}>{shown}</{tag}>"
        return out

    body = ""
    for row, style, trial in zip(rows, styles, numbers, strict=True):
        picks = isinstance(trial, int)
        mark = f' data-trial="{trial}"' if picks else ""
        body += f"<tr{style}{mark}>{cells('td', row, picks)}</tr>"
    titles = names
    return f"<table><thead><tr>{cells('th', titles)}</tr></thead><tbody>{body}</tbody></table>"


_NUMBER, _LONG = ' class="number"', ' class="long"'

_CHARTS = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline';
 script-src 'unsafe-inline' 'unsafe-eval'; img-src data: blob:; base-uri 'none'">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{style}</style></head><body>
<noscript><p class="warning">The charts need JavaScript; the tables hold the same numbers.</p>
</noscript>
{body}
<script>{plotly}</script>
<script type="application/json" id="data">{data}</script>
<script>
{script}</script>
</body></html>
"""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
 :root {{ color-scheme: light dark; --ink: #222; --dim: #666; --page: #fff; --rule: #8884 }}
 @media (prefers-color-scheme: dark) {{
   :root {{ --ink: #ddd; --dim: #a0a4ab; --page: #16181c }}
 }}
 body {{ font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem auto; max-width: 70rem;
        padding: 0 1rem; color: var(--ink); background: var(--page) }}
 h1 {{ font-size: 1.4rem; margin: 0 0 .3rem; overflow-wrap: anywhere }}
 h2 {{ font-size: 1.1rem; margin: 1.5rem 0 .3rem; overflow-wrap: anywhere }}
 p {{ margin: 0; max-width: 60rem; overflow-wrap: anywhere }}
 .dim, .reference {{ color: var(--dim) }}
 .wide {{ overflow-x: auto; margin: .5rem 0 1rem }}
 table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
 th, td {{ padding: .3rem .7rem; border-bottom: 1px solid var(--rule); text-align: left;
          white-space: nowrap }}
 .number {{ text-align: right }}
</style></head><body>
{body}
<script>
 const dark = matchMedia("(prefers-color-scheme: dark)");
 const ink = () => Plotly.relayout("{figure}", {{"font.color": dark.matches ? "#ddd" : "#222"}});
 dark.addEventListener("change", ink); ink();
</script>
</body></html>
"""
