"""One self-contained HTML page around a plotly figure: it opens without a network.

Every text is given escaped, except the figure, which plotly writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

__all__ = ["figure_html", "html_page", "html_table"]


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


def html_table(
    titles: Iterable[str], rows: Iterable[Sequence[str]], numeric: Sequence[bool],
    classes: Iterable[str] = (),
) -> str:  # fmt: skip
    """A table; texts are escaped here, numeric columns aligned on the right.

    ``classes`` are those of the rows, "" for none; all none if left out.
    """

    def cells(tag: str, texts: Iterable[str]) -> str:
        return "".join(
            f"<{tag}{_NUMBER if right else ''}>{escape(text)}</{tag}>"
            for text, right in zip(texts, numeric, strict=True)
        )

    rows = list(rows)
    styles = [f' class="{style}"' if style else "" for style in classes] or [""] * len(rows)
    body = "".join(
        f"<tr{style}>{cells('td', row)}</tr>" for row, style in zip(rows, styles, strict=True)
    )
    return f"<table><thead><tr>{cells('th', titles)}</tr></thead><tbody>{body}</tbody></table>"


_NUMBER = ' class="number"'

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
