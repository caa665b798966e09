"""The report as one HTML file: the same Markdown, the figures inside; no script, no request."""

import base64
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.token import Token


def render_html(markdown: str, title: str, figures: Mapping[str, Path]) -> str:
    """A page of a report.

    Parameters
    ----------
    markdown
        The report; HTML in it is shown, not interpreted.
    title
        What the browser shows.
    figures
        PNG files by the path that the Markdown gives them; no other image is shown.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    for block in tokens:
        for token in block.children or []:
            if token.type == "image":
                _embed(token, figures)
    body = parser.renderer.render(tokens, parser.options, {})
    return fill("page.html.j2", title=title, body=body)


def fill(template: str, **values: str) -> str:
    """A page from its template; values are escaped unless the template says they are safe."""
    environment = Environment(
        loader=PackageLoader("powerblend.report", "templates"),
        undefined=StrictUndefined,
        autoescape=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(values)


def _embed(image: Token, figures: Mapping[str, Path]) -> None:
    path = figures.get(str(image.attrs.get("src")))
    data = base64.b64encode(path.read_bytes()).decode() if path else ""
    image.attrs["src"] = f"data:image/png;base64,{data}"
