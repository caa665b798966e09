"""The report: a Markdown template filled from a study's summary. Computes nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(summary: Mapping[str, Any], run: Mapping[str, Any], figures: Mapping[str, str]) -> str:
    """The report of a study.

    Parameters
    ----------
    summary
        What `analysis.summary` computed.
    run
        How it was run: the configuration, what was checked, versions, hardware.
    figures
        Paths of the figures, relative to the report.
    """
    environment = Environment(
        loader=PackageLoader("powerblend.report", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(percent=percent, cell=cell, table=table)
    template = environment.get_template("report.md.j2")
    return template.render(**summary, run=run, figures=figures)


def percent(share: float | None, digits: int = 1) -> str:
    """A share in [0, 1] as a percentage, a dash where there is none."""
    return "—" if share is None else f"{share:.{digits}%}"


def cell(text: object) -> str:
    """Text that stays text in a Markdown table."""
    escaped = "".join(f"\\{c}" if c in "\\`*_{}[]<>()#+!|~$" else c for c in str(text))
    return escaped.replace("\n", " ")


def table(rows: Sequence[Sequence[object]], header: Sequence[str]) -> str:
    """A Markdown table, numbers to the right of a first column of names."""
    lines = [header, [":--", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(value) for value in line) + " |" for line in lines)
