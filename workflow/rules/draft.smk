"""A draft for a model that has none, trained on what the model writes.

in:  the file of training.problems, none of which is in the study
out: results/STUDY/draft/DIGEST/: config.json, model.safetensors, training.json
"""


rule draft:
    """Answers of the model, then a small block-diffusion network that reads its hidden states."""
    input:
        checked=ancient(LAYOUT.checked),
        model=ancient(MODEL_FILES),
        problems=LAYOUT.training_file,
    output:
        directory=directory(LAYOUT.results / "draft" / "{digest}"),
    log:
        LOGS / "draft" / "{digest}.log",
    benchmark:
        TIMES / "draft" / "{digest}.tsv"
    # The longest job, and the one that others wait for.
    priority: 50
    conda:
        ENVIRONMENTS / ("gpu.yaml" if STUDY.resources.gpu else "cpu.yaml")
    threads: STUDY.resources.threads
    resources:
        gpu=STUDY.resources.gpu,
        mem_mb=STUDY.resources.mem_mb,
        runtime=STUDY.resources.runtime,
    params:
        spec=lambda wildcards: SPECS[f"draft-{wildcards.digest}"],
        store=lambda wildcards: LAYOUT.chains(f"draft-{wildcards.digest}", "").parent,
        device=device,
    shell:
        "OMP_NUM_THREADS={threads} OMP_WAIT_POLICY=PASSIVE python -m powerblend --log {log:q}"
        " train-draft --spec {params.spec:q} --store {params.store:q} --output {output.directory:q}"
        " --threads {threads}"
        f" --device {{params.device}} --rows {STUDY.resources.rows} {FETCHED_MODEL}"
