"""A draft for a model that has none, trained on what the model writes.

in:  the file of training.problems, none of which is in the study
out: results/STUDY/draft/DIGEST/: config.json, model.safetensors, training.json
"""


use rule generate as draft with:
    input:
        spec=lambda wildcards: ancient(spec_of(f"draft-{wildcards.digest}")),
        model=ancient(MODEL_FILES),
        problems=LAYOUT.training_problems or [],
    output:
        directory=directory(LAYOUT.results / "draft" / "{digest}"),
    log:
        LOGS / "draft" / "{digest}.log",
    benchmark:
        TIMES / "draft" / "{digest}.tsv"
    # The longest job, and the one that others wait for.
    priority: 50
    params:
        job="train-draft",
        inputs=options_of("problems"),
        settings=with_rows(
            "--store",
            lambda wildcards: LAYOUT.chains(f"draft-{wildcards.digest}", "").parent,
        ),
