"""The study: problems → shards → generate → grade → tables → figures → report.

Rules that are local take seconds each, and some need the network: they run where Snakemake runs,
also on a cluster.
"""


configfile: f"{workflow.current_basedir}/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/generate.smk"
include: "workflow/rules/draft.smk"
include: "workflow/rules/probe.smk"
include: "workflow/rules/analysis.smk"


rule all:
    """Every stage, so that a missing intermediate is made again even if the report is there.

    Specs and shards are not among them: they are written anew when a job is to read them.
    """
    default_target: True
    input:
        LAYOUT.config,
        LAYOUT.checked,
        LAYOUT.problems,
        [path for name in CELLS for path in LAYOUT.answers_of(name)],
        [path for paths in LAYOUT.grades().values() for path in paths],
        PROBE_FILES,
        DRAFTS,
        LAYOUT.tables / "overall.csv",
        LAYOUT.tables / "summary.json",
        PROBE_TABLES,
        FIGURE_FILES["png"],
        FIGURE_FILES["svg"],
        LAYOUT.report,
        LAYOUT.report.with_suffix(".html"),
        LAYOUT.answers,
    localrule: True


onstart:
    show_jobs([LOGS, models() / "logs"])


onsuccess:
    print(closing())
