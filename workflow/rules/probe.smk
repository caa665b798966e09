"""The probe: which layers carry something new, and the betas that match a KL.

in:  results/STUDY/problems/DATASET/problems.jsonl, and the greedy records of results/STUDY/generate/
out: results/STUDY/probe/probe-DIGEST.json, beta-DIGEST.json
"""


use rule generate as probe with:
    input:
        spec=lambda wildcards: ancient(spec_of(f"probe-{wildcards.digest}")),
        model=ancient(MODEL_FILES),
        problems=LAYOUT.problems,
        records=LAYOUT.own_records,
        betas=LAYOUT.own_betas,
        draft=lambda wildcards: draft_of(f"probe-{wildcards.digest}"),
    output:
        LAYOUT.results / "probe" / "probe-{digest}.json",
    log:
        LOGS / "probe" / "probe-{digest}.log",
    benchmark:
        TIMES / "probe" / "probe-{digest}.tsv"
    priority: 0
    params:
        job="probe",
        inputs=options_of("problems", "records", "betas", "draft"),
        settings="",


use rule probe as match with:
    input:
        spec=lambda wildcards: ancient(spec_of(f"beta-{wildcards.digest}")),
        model=ancient(MODEL_FILES),
        problems=LAYOUT.problems,
        records=LAYOUT.probed_records,
        draft=lambda wildcards: draft_of(f"beta-{wildcards.digest}"),
    output:
        LAYOUT.results / "probe" / "beta-{digest}.json",
    log:
        LOGS / "probe" / "beta-{digest}.log",
    benchmark:
        TIMES / "probe" / "beta-{digest}.tsv"
    # Generate jobs wait for it.
    priority: 50
    params:
        job="match",
        inputs=options_of("problems", "records", "draft"),
