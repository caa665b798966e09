"""From grades to the report.

in:  results/STUDY/grade/GRADER-DIGEST/CELL/SHARDxSAMPLES.jsonl
out: results/STUDY/tables/overall.csv, summary.json, probe_layers.csv, probe_blends.csv;
     report/STUDY/FIGURE.png, .svg; report/STUDY.md, .html; report/STUDY_answers.html
"""

PUBLISHED = BASE / "resources" / "published.yaml"

# Of Snakemake's own report; a figure that is not here is about the answers.
SUBCATEGORIES = {
    **dict.fromkeys(["probe_ranks", "probe_hard", "probe_kl"], "Probe"),
    **dict.fromkeys(["draft", "training"], "Draft"),
    **dict.fromkeys(["compute", "diagnostics", "architecture"], "Method"),
}


rule tables:
    """Every number of the report."""
    input:
        config=LAYOUT.config,
        code=code("tables"),
        grades=[path for paths in LAYOUT.grades().values() for path in paths],
        probes=PROBE_FILES,
        drafts=DRAFTS,
    output:
        overall=report(
            LAYOUT.tables / "overall.csv",
            caption="../report/overall.rst",
            category="Tables",
            subcategory="Conditions",
            labels={"table": "overall"},
        ),
        summary=report(
            LAYOUT.tables / "summary.json",
            caption="../report/summary.rst",
            category="Tables",
            subcategory="All numbers",
            labels={"table": "summary"},
        ),
        probe=[
            report(
                path,
                caption="../report/probe.rst",
                category="Tables",
                subcategory="Probe",
                labels={"table": path.stem},
            )
            for path in PROBE_TABLES
        ],
    log:
        LOGS / "tables.log",
    localrule: True
    conda:
        ENVIRONMENTS / "cpu.yaml"
    shell:
        "python -m powerblend --log {log:q} tables --config {input.config:q}"
        " --output {output.overall:q} --summary {output.summary:q}"


rule figures:
    """The figures, for the page and for print: together, as most of one's time is imports."""
    input:
        summary=rules.tables.output.summary,
        published=local(PUBLISHED),
        code=code("figures"),
    output:
        png=[
            report(
                LAYOUT.figures / f"{figure}.png",
                caption="../report/figure.rst",
                category="Figures",
                subcategory=SUBCATEGORIES.get(figure, "Answers"),
                labels={"figure": figure},
            )
            for figure in FIGURES
        ],
        svg=FIGURE_FILES["svg"],
    log:
        LOGS / "figures.log",
    localrule: True
    conda:
        ENVIRONMENTS / "cpu.yaml"
    params:
        folder=lambda wildcards, output: str(Path(output.png[0]).parent),
    shell:
        "python -m powerblend --log {log:q} figures"
        " --summary {input.summary:q} --published {input.published:q} --output {params.folder:q}"


rule report:
    """The study, written up, for the repository and as one page to send."""
    input:
        config=LAYOUT.config,
        checked=LAYOUT.checked,
        summary=rules.tables.output.summary,
        figures=rules.figures.output.png,
        published=local(PUBLISHED),
        code=code("report"),
    output:
        markdown=LAYOUT.report,
        html=report(
            LAYOUT.report.with_suffix(".html"),
            caption="../report/report.rst",
            category="Report",
            labels={"page": LAYOUT.report.stem},
        ),
    log:
        LOGS / "report.log",
    localrule: True
    conda:
        ENVIRONMENTS / "cpu.yaml"
    params:
        # Takes the output, so that it is not tracked: whatever it changes in the report is in config.
        command=lambda wildcards, output: COMMAND,
    shell:
        "python -m powerblend --log {log:q} report --config {input.config:q} --checked {input.checked:q}"
        " --summary {input.summary:q} --published {input.published:q} --figures {input.figures:q}"
        " --output {output.markdown:q} --html {output.html:q}"
        " --command {params.command:q}"


rule answers:
    """Every answer beside those of the other conditions, as one page to look at."""
    input:
        config=LAYOUT.config,
        problems=LAYOUT.problems,
        generated=[path for name in CELLS for path in LAYOUT.answers_of(name)],
        grades=[path for paths in LAYOUT.grades().values() for path in paths],
        code=code("answers"),
    output:
        html=report(
            LAYOUT.answers,
            caption="../report/answers.rst",
            category="Report",
            labels={"page": LAYOUT.answers.stem},
        ),
    log:
        LOGS / "answers.log",
    localrule: True
    conda:
        ENVIRONMENTS / "cpu.yaml"
    shell:
        "python -m powerblend --log {log:q} answers --config {input.config:q}"
        " --output {output.html:q}"
