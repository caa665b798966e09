"""Generation and grading: a job per cell and shard, or group of shards.

in:  results/STUDY/problems/DATASET/SHARD.jsonl
out: results/STUDY/generate/CELL/SHARDxSAMPLES.jsonl, results/STUDY/grade/GRADER-DIGEST/CELL/SHARDxSAMPLES.jsonl
"""

# A rule for each group of shards that a job does; for single shards, one for them all.
for number, shards in enumerate(SHARDS_BY_JOB):

    rule:
        """Answers of one condition to one shard, or to several; continues from their chain stores.

        It reads all problems, so that shards may be grouped anew without a changed input. The other jobs of
        the model (draft, probe, match) are rules of the same resources and command.
        """
        name:
            "generate" if number == 0 else f"generate_{number + 1}"
        input:
            spec=lambda wildcards: ancient(spec_of(wildcards.cell)),
            model=ancient(MODEL_FILES),
            problems=LAYOUT.problems,
            draft=lambda wildcards: draft_of(wildcards.cell),
            beta=lambda wildcards: BETAS.get(wildcards.cell, []),
        output:
            [
                LAYOUT.results / "generate" / "{cell}" / f"{s}x{{samples}}.jsonl"
                for s in shards
            ],
        log:
            LOGS / "generate" / "{cell}" / f"{called(shards)}x{{samples}}.log",
        benchmark:
            TIMES / "generate" / "{cell}" / f"{called(shards)}x{{samples}}.tsv"
        priority: longest_first
        conda:
            ENVIRONMENTS / ("gpu.yaml" if STUDY.resources.gpu else "cpu.yaml")
        threads: STUDY.resources.threads
        resources:
            gpu=STUDY.resources.gpu,
            mem_mb=STUDY.resources.mem_mb,
            runtime=STUDY.resources.runtime,
        params:
            job="generate",
            device=device,
            model=fetched_model,
            inputs=options_of("problems", "draft", "beta"),
            settings=with_rows(
                stores_of(shards),
                *(
                    "--samples",
                    lambda wildcards: wildcards.samples,
                    "--study",
                    STUDY.study,
                ),
                *("--condition", lambda wildcards: wildcards.cell.split("-")[0]),
                siblings_of(shards),
            ),
        shell:
            "OMP_NUM_THREADS={threads} python -m powerblend --log {log:q}"
            " {params.job} --spec {input.spec:q} {params.inputs} --output {output:q}"
            " --device {params.device} --threads {threads} {params.model} {params.settings}"


rule grade:
    """Verdicts on one generate job's answers."""
    input:
        spec=ancient(LAYOUT.grading_spec),
        records=LAYOUT.results / "generate" / "{cell}" / "{shard}x{samples}.jsonl",
        problems=LAYOUT.problems_dir / "{shard}.jsonl",
    output:
        LAYOUT.grade_dir / "{cell}" / "{shard}x{samples}.jsonl",
    log:
        LOGS / "grade" / "{cell}" / "{shard}x{samples}.log",
    conda:
        ENVIRONMENTS / "cpu.yaml"
    shell:
        "python -m powerblend --log {log:q} grade --spec {input.spec:q}"
        " --records {input.records:q} --problems {input.problems:q} --output {output:q}"
