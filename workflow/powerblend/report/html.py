"""The report as one HTML file: the same Markdown, the figures inside; no request.

It has a table of contents, and tables that a click sorts; the one script that does it is the only
one that the page's policy lets run.
"""

import base64
import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.token import Token


class Heading(NamedTuple):
    """An entry of the table of contents: 2 is a section, 3 a part of one."""

    level: int
    text: str
    id: str


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
    contents = list(_named_headings(tokens))
    body = parser.renderer.render(tokens, parser.options, {})
    script = template_text("page.js")
    return fill(
        "page.html.j2",
        title=title,
        body=body,
        contents=contents,
        script=script,
        script_hash=policy_hash(script),
    )


def _named_headings(tokens: Sequence[Token]) -> Iterator[Heading]:
    """The sections and their parts, which are given names to be linked by."""
    seen: set[str] = set()
    for opening, inline in itertools.pairwise(tokens):
        if opening.type == "heading_open" and opening.tag in ("h2", "h3"):
            text = "".join(child.content for child in inline.children or [])
            name = re.sub(r"\W+", "-", text.lower()).strip("-") or "section"
            while name in seen:
                name += "-"
            seen.add(name)
            opening.attrs["id"] = name
            yield Heading(int(opening.tag[1]), text, name)


def template_text(name: str) -> str:
    """A style or a script that a page holds."""
    return (files("powerblend.report") / "templates" / name).read_text(encoding="utf-8")


def policy_hash(text: str) -> str:
    """What names a script or style in a page's content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def fill(template: str, **values: object) -> str:
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
