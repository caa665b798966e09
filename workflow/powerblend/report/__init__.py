"""The report: Markdown templates filled from a study's summary. Computes no statistic.

A template is a section. Sentences that interpret are in `phrases` and `findings`, foreign strings
pass through `text.cell`, and `html` makes one page of the result.
"""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from powerblend.figures import draft, interaction, overlap, sweep
from powerblend.report import conditions, findings, phrases, probe, published, samples, text
from powerblend.report.html import render_html

SECTIONS: dict[str, Any] = {
    "conditions": {},
    "blended": [],
    "contrasts": [],
    "difficulty": None,
    "levels": [],
    "subjects": [],
    "overlaps": [],
    "sampling": [],
    "compute": [],
    "matched": [],
    "chains": [],
    "sweep": [],
    "probe": None,
    "training": None,
    "disagreements": [],
    "ungraded": [],
}
"""What a summary may lack, and what it then has."""


def render(
    summary: Mapping[str, Any],
    run: Mapping[str, Any],
    figures: Mapping[str, str],
    others: Mapping[str, Any] | None = None,
) -> str:
    """The report of a study, as Markdown.

    Parameters
    ----------
    summary
        What `analysis.summary` computed.
    run
        How it was run: the configuration, what was checked, versions, hardware.
    figures
        Paths of the figures, relative to the report.
    others
        Published numbers: ``resources/published.yaml``.
    """
    given = {key: value for key, value in summary.items() if value is not None}
    complete = {**SECTIONS, **given}
    environment = Environment(
        loader=PackageLoader("powerblend.report", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for module in (conditions, findings, phrases, probe, samples, text):
        environment.globals.update(_functions(module))
    # What a figure is about is what the words beside it are about.
    environment.globals.update(
        main_pair=overlap.chosen,
        quartet=interaction.quartet,
        interaction_contrast=interaction.interaction_contrast,
        no_map=sweep.no_map,
        sweep_panels=sweep.panels,
        sweep_title=sweep.title,
        sweep_verdict=sweep.verdict,
        drafted=draft.drafted,
        compared=draft.compared,
    )
    environment.filters.update(_functions(text))
    context = {"summary": complete, "run": run, "figures": figures}
    comparison = {"others": others or {"sources": {}, "results": []}, "compare": published}
    template = environment.get_template("report.md.j2")
    return template.render(**complete, **context, **comparison)


def _functions(module: Any) -> dict[str, Any]:
    """The functions that a module defines for others."""
    return {
        name: value
        for name, value in vars(module).items()
        if callable(value) and not name.startswith("_") and value.__module__ == module.__name__
    }


__all__ = ["render", "render_html"]
