"""The probe: which layers carry something new, and the betas that match a KL.

in:  results/STUDY/problems/DATASET/problems.jsonl, or the greedy records of results/STUDY/generate/
out: results/STUDY/probe/probe-DIGEST.json, beta-DIGEST.json
"""


rule probe:
    """Every layer alone, and blends over beta, on a sample of the text's tokens."""
    input:
        checked=ancient(LAYOUT.checked),
        model=ancient(MODEL_FILES),
        problems=LAYOUT.problems,
        records=LAYOUT.probed_records(),
        draft=lambda wildcards: draft_of(f"probe-{wildcards.digest}"),
    output:
        LAYOUT.results / "probe" / "probe-{digest}.json",
    log:
        LOGS / "probe" / "probe-{digest}.log",
    benchmark:
        TIMES / "probe" / "probe-{digest}.tsv"
    conda:
        ENVIRONMENTS / ("gpu.yaml" if STUDY.resources.gpu else "cpu.yaml")
    threads: STUDY.resources.threads
    resources:
        gpu=STUDY.resources.gpu,
        mem_mb=STUDY.resources.mem_mb,
        runtime=STUDY.resources.runtime,
    params:
        spec=lambda wildcards: SPECS[f"probe-{wildcards.digest}"],
        device=device,
    shell:
        "OMP_NUM_THREADS={threads} OMP_WAIT_POLICY=PASSIVE python -m powerblend --log {log:q} probe"
        " --spec {params.spec:q} --problems {input.problems:q} --records {input.records:q}"
        " --draft {input.draft:q}"
        " --output {output:q} --threads {threads}"
        f" --device {{params.device}} {FETCHED_MODEL}"


rule match:
    """The beta of conditions that are to have a given KL; their generate jobs wait for it."""
    input:
        checked=ancient(LAYOUT.checked),
        model=ancient(MODEL_FILES),
        problems=LAYOUT.problems,
        records=LAYOUT.probed_records(),
        draft=lambda wildcards: draft_of(f"beta-{wildcards.digest}"),
    output:
        LAYOUT.results / "probe" / "beta-{digest}.json",
    log:
        LOGS / "probe" / "beta-{digest}.log",
    benchmark:
        TIMES / "probe" / "beta-{digest}.tsv"
    priority: 50
    conda:
        ENVIRONMENTS / ("gpu.yaml" if STUDY.resources.gpu else "cpu.yaml")
    threads: STUDY.resources.threads
    resources:
        gpu=STUDY.resources.gpu,
        mem_mb=STUDY.resources.mem_mb,
        runtime=STUDY.resources.runtime,
    params:
        spec=lambda wildcards: SPECS[f"beta-{wildcards.digest}"],
        device=device,
    shell:
        "OMP_NUM_THREADS={threads} OMP_WAIT_POLICY=PASSIVE python -m powerblend --log {log:q} match"
        " --spec {params.spec:q} --problems {input.problems:q} --records {input.records:q}"
        " --draft {input.draft:q}"
        " --output {output:q} --threads {threads}"
        f" --device {{params.device}} {FETCHED_MODEL}"
