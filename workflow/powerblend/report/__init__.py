"""The report: Markdown templates filled from a study's summary. Computes no statistic.

A template is a section, and speaks to the modules that are named in `render`: ``results`` in a
template is `powerblend.report.results`. Foreign strings pass through `text.escaped`, and `html`
makes one page of the result. Imports no figure.
"""

from collections.abc import Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined

from powerblend.analysis import interaction, roles, sweep
from powerblend.report import (
    conclusions,
    contrasts,
    controls,
    convergence,
    costs,
    draft,
    kernels,
    limitations,
    method,
    probe,
    published,
    results,
    setup,
    text,
)
from powerblend.report.html import render_html
from powerblend.report.run import Run
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import Summary


def render(summary: Summary, run: Run, figures: Mapping[str, str], others: PublishedNumbers) -> str:
    """The report of a study, as Markdown.

    Parameters
    ----------
    summary
        What `analysis.summary` computed.
    run
        How it was run: the configuration, what was checked, versions, hardware.
    figures
        Paths of the figures by name, relative to the report.
    others
        Published numbers to compare with.
    """
    environment = Environment(
        loader=PackageLoader("powerblend.report", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        escaped=text.escaped, number=text.number, p_value=text.p_value, percent=text.percent
    )
    return environment.get_template("report.md.j2").render(
        summary=summary,
        run=run,
        figures=figures,
        others=others,
        # What templates may call, by section:
        conclusions=conclusions,
        contrasts=contrasts,
        convergence=convergence,
        controls=controls,
        costs=costs,
        draft=draft,
        interaction=interaction,
        kernels=kernels,
        limitations=limitations,
        method=method,
        probe=probe,
        published=published,
        results=results,
        roles=roles,
        setup=setup,
        sweep=sweep,
        text=text,
    )


__all__ = ["render", "render_html"]
