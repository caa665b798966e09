"""From grades to the report.

in:  results/STUDY/grade/GRADER-DIGEST/CELL/SHARDxSAMPLES.jsonl
out: results/STUDY/tables/overall.csv, summary.json, probe_layers.csv, probe_blends.csv;
     report/STUDY/FIGURE.png, .svg; report/STUDY.md, .html; report/STUDY_answers.html
"""

PUBLISHED = Path(workflow.basedir) / "resources" / "published.yaml"


rule tables:
    """Every number of the report."""
    input:
        config=LAYOUT.config,
        # On the way back to an earlier configuration only the check runs again, and as it is ancient
        # to what generates, Snakemake would look no further down and keep the later one's tables.
        checked=LAYOUT.checked,
        grades=[path for paths in LAYOUT.grades().values() for path in paths],
        probes=PROBE_FILES,
        drafts=DRAFTS,
    output:
        overall=LAYOUT.tables / "overall.csv",
        summary=LAYOUT.tables / "summary.json",
        probe=[LAYOUT.tables / f"probe_{part}.csv" for part in PROBE_PARTS],
    log:
        LOGS / "tables.log",
    conda:
        ENVIRONMENTS / "cpu.yaml"
    shell:
        "python -m powerblend --log {log:q} tables --config {input.config:q}"
        " --output {output.overall:q} --summary {output.summary:q}"


rule figure:
    """One figure, for the page and for print."""
    input:
        summary=rules.tables.output.summary,
        published=local(PUBLISHED),
        drawing=local(PACKAGE / "figures" / "{figure}.py"),
        style=local(PACKAGE / "figures" / "style.py"),
    output:
        png=report(LAYOUT.figures / "{figure}.png", category="Figures"),
        svg=LAYOUT.figures / "{figure}.svg",
    log:
        LOGS / "figures" / "{figure}.log",
    conda:
        ENVIRONMENTS / "cpu.yaml"
    shell:
        "python -m powerblend --log {log:q} figure {wildcards.figure}"
        " --summary {input.summary:q} --published {input.published:q} --output {output.png:q}"


rule report:
    """The study, written up, for the repository and as one page to send."""
    input:
        config=LAYOUT.config,
        checked=LAYOUT.checked,
        summary=rules.tables.output.summary,
        figures=[path for path in FIGURE_FILES if path.suffix == ".png"],
        published=local(PUBLISHED),
        templates=local(sorted((PACKAGE / "report" / "templates").glob("*.j2"))),
    output:
        markdown=LAYOUT.report,
        html=report(LAYOUT.report.with_suffix(".html"), category="Report"),
    log:
        LOGS / "report.log",
    conda:
        ENVIRONMENTS / "cpu.yaml"
    params:
        command=COMMAND,
    shell:
        "python -m powerblend --log {log:q} report --config {input.config:q} --checked {input.checked:q}"
        " --summary {input.summary:q} --published {input.published:q} --figures {input.figures:q}"
        " --output {output.markdown:q} --html {output.html:q}"
        " --command {params.command:q}"


rule answers:
    """Every answer beside those of the other conditions, as one page to look at."""
    input:
        config=LAYOUT.config,
        checked=LAYOUT.checked,
        problems=LAYOUT.problems,
        generated=[path for cell in CELLS.values() for path in LAYOUT.generated(cell)],
        grades=[path for paths in LAYOUT.grades().values() for path in paths],
        templates=local(sorted((PACKAGE / "report" / "templates").glob("answers.*"))),
    output:
        html=report(LAYOUT.answers, category="Report"),
    log:
        LOGS / "answers.log",
    conda:
        ENVIRONMENTS / "cpu.yaml"
    shell:
        "python -m powerblend --log {log:q} answers --config {input.config:q}"
        " --output {output.html:q}"
