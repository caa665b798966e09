"""Generation and grading: a job per cell and shard.

in:  results/STUDY/problems/DATASET/SHARD.jsonl
out: results/STUDY/generate/CELL/SHARDxSAMPLES.jsonl, results/STUDY/grade/GRADER-DIGEST/CELL/SHARDxSAMPLES.jsonl
"""


rule generate:
    """Answers of one condition to one shard; continues from its chain store."""
    input:
        # Checked first, but what was checked does not decide what is generated.
        checked=ancient(LAYOUT.checked),
        model=ancient(MODEL_FILES),
        problems=LAYOUT.problems_dir / "{shard}.jsonl",
        draft=lambda wildcards: draft_of(wildcards.cell),
        beta=lambda wildcards: BETAS.get(wildcards.cell, []),
    output:
        LAYOUT.results / "generate" / "{cell}" / "{shard}x{samples}.jsonl",
    log:
        LOGS / "generate" / "{cell}" / "{shard}x{samples}.log",
    benchmark:
        TIMES / "generate" / "{cell}" / "{shard}x{samples}.tsv"
    priority: longest_first
    conda:
        ENVIRONMENTS / ("gpu.yaml" if STUDY.resources.gpu else "cpu.yaml")
    threads: STUDY.resources.threads
    resources:
        gpu=STUDY.resources.gpu,
        mem_mb=STUDY.resources.mem_mb,
        runtime=STUDY.resources.runtime,
    params:
        spec=lambda wildcards: spec_of(wildcards.cell),
        store=lambda wildcards: LAYOUT.chains(wildcards.cell, wildcards.shard),
        condition=lambda wildcards: wildcards.cell.split("-")[0],
        device=device,
        model=fetched_model,
    shell:
        "OMP_NUM_THREADS={threads} OMP_WAIT_POLICY=PASSIVE python -m powerblend --log {log:q}"
        " generate --spec {params.spec:q} --problems {input.problems:q} --store {params.store:q}"
        " --draft {input.draft:q} --beta {input.beta:q} --output {output:q} --samples {wildcards.samples} --threads {threads}"
        f" --device {{params.device}} --rows {STUDY.resources.rows} {{params.model}}"
        f" --study {STUDY.study} --condition {{params.condition}}"


rule grade:
    """Verdicts on one generate job's answers."""
    input:
        records=LAYOUT.results / "generate" / "{cell}" / "{shard}x{samples}.jsonl",
        problems=LAYOUT.problems_dir / "{shard}.jsonl",
    output:
        LAYOUT.grade_dir / "{cell}" / "{shard}x{samples}.jsonl",
    log:
        LOGS / "grade" / "{cell}" / "{shard}x{samples}.log",
    conda:
        ENVIRONMENTS / "cpu.yaml"
    params:
        grading=lambda wildcards: canonical(STUDY.grading.model_dump()),
    shell:
        "python -m powerblend --log {log:q} grade --records {input.records:q}"
        " --problems {input.problems:q} --output {output:q} --grading {params.grading:q}"
