"""The study: problems → shards → generate → grade → tables → figures → report."""


configfile: f"{workflow.basedir}/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/generate.smk"
include: "workflow/rules/draft.smk"
include: "workflow/rules/probe.smk"
include: "workflow/rules/analysis.smk"


# Seconds each, and some of them need the network: they run where Snakemake runs, also on a cluster.
localrules:
    all,
    config,
    embedded_model,
    problems,
    shard,
    check,
    tables,
    figure,
    report,
    answers,


rule all:
    """Every stage, so that a missing intermediate is made again even if the report is there."""
    default_target: True
    input:
        LAYOUT.config,
        list(LAYOUT.specs),
        LAYOUT.checked,
        LAYOUT.problems,
        [path for cell in CELLS.values() for path in LAYOUT.generated(cell)],
        [path for paths in LAYOUT.grades().values() for path in paths],
        PROBE_FILES,
        DRAFTS,
        LAYOUT.tables / "overall.csv",
        LAYOUT.tables / "summary.json",
        [LAYOUT.tables / f"probe_{part}.csv" for part in PROBE_PARTS],
        FIGURE_FILES,
        LAYOUT.report,
        LAYOUT.report.with_suffix(".html"),
        LAYOUT.answers,


onsuccess:
    print(closing())
