"""A configuration that cannot be run ends in a sentence, before anything is generated."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import AutoConfig

import tiny
from powerblend.jobs.check import check_study
from powerblend.study.cells import cells_of, seeded_cells_of, training_of
from powerblend.study.layout import Layout
from powerblend.study.problems import load_problems
from powerblend.study.schema import parse_study, study_schema
from powerblend.study.sweep import Sweep
from powerblend.vocabulary.errors import ConfigError
from small_study import ROOT, merged, parsed, snakemake, write_study

BASE: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text())


def study(**changes: Any) -> Any:
    return parse_study(merged(BASE, changes))


def swept(*conditions: str, **over: Any) -> dict[str, Any]:
    return {"conditions": [*conditions], "over": over}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sede": 1}, "sede: unknown key (its value is 1)"),
        ({"seed": "often"}, "seed: Input should be a valid integer"),
        ({"seeds": [1, 2, 1]}, "seeds: [1, 2, 1] has one twice, which would give the same answers"),
        ({"seeds": []}, "seeds: List should have at least 1 item after validation"),
        ({"samples": 0}, "samples: Input should be greater than 0 (it is 0)"),
        ({"resources": {"rows": 0}}, "resources.rows: Input should be greater than 0 (it is 0)"),
        ({"resources": {"rows": "all"}}, "\nresources.rows: Input should be 'auto' (it is 'all')"),
        ({"shards": {"use": [0, "b"]}}, "shards.use.1: Input should be a valid integer"),
        ({"dataset": {"columns": {"reply": "x"}}}, "dataset.columns.reply: Input should be 'prob"),
        ({"grading": {"grader": "integer", "digits": 3}}, "grading.digits: unknown key"),
        ({"conditions": {"ps": {"blend": 3}}}, "conditions.ps.blend: give a mapping, as {'source'"),
        ({"model": {"dtype": "int4"}}, "model.dtype: Input should be 'float32', 'float64' or"),
        ({"prompt": {"template": "Solve!"}}, "prompt.template: String should match pattern"),
        ({"shards": {"use": "0-40"}}, "shards: use is '0-40'; give a list or a range of shards"),
        ({"shards": {"use": []}}, "shards: use is []; give a list or a range of shards"),
        ({"use": ["psi"]}, "use: no condition is called 'psi'; use greedy, base, temp, ps"),
        ({"decoding": {"alhpa": 4}}, "decoding.alhpa: no sampler reads this key"),
        (
            {"decoding": {"blocks": 7}},
            "conditions.ps: blocks is 7, which does not divide max_new_tokens 1024",
        ),
        (
            {"blends": {"layer": {"beta": "much"}}},
            "conditions.blend_greedy.blend.beta: Input should be a valid number",
        ),
        (
            {"blends": {"layer": {"betta": 1}}},
            "conditions.blend_ps.blend.betta: unknown key (its value is 1)",
        ),
        (
            {"conditions": {"greedy": {"steps": 3}}},
            "conditions.greedy.steps: unknown key (its value is 3)",
        ),
        (
            {"conditions": {"ps": {"sampler": "powr"}}},
            "conditions.ps: sampler is 'powr'; use one of greedy, temperature, power",
        ),
        ({"conditions": {"ps": {"blend": "dark"}}}, "conditions.ps: blend: none is called 'dark'"),
        ({"conditions": {"ps": {"alpha": 0.5}}}, "conditions.ps.alpha: Input should be greater"),
        ({"conditions": {"ps": {"mh": "approx"}}}, "conditions.ps.mh: Input should be 'exact' or"),
        ({"dataset": {"adapter": "gsm"}}, "dataset.adapter: there is no adapter 'gsm'; use math,"),
        (
            {"dataset": {"adapter": "gsm8k", "columns": {"answer": "reply"}}},
            "but the adapter gsm8k knows its columns; leave columns out",
        ),
        ({"grading": {"grader": "code"}}, "run_code is false; the code grader runs programs"),
        ({"grading": {"grader": "oral"}}, "grading: Input tag 'oral' found using 'grader' does"),
        ({"sweep": swept("psi", alpha=[2])}, "sweep.conditions: none is called 'psi'; use greedy"),
        (
            {"sweep": swept("greedy", alpha=[2])},
            "sweep.over.alpha: none of greedy reads this key; write a sampler's, as alpha, or",
        ),
        ({"sweep": swept("ps", alpha=[2, 0.5])}, "sweep: ps_alpha_0p5.alpha: Input should be gr"),
        ({"sweep": swept("ps", alpha=[])}, "sweep.over.alpha: List should have at least 1 item"),
        ({"sweep": swept("ps", alhpa=[2])}, "sweep.over.alhpa: none of ps reads this key"),
        (
            {"sweep": {"conditions": ["blend_ps"], "over": {"blend.betta": [1]}}},
            "sweep: blend_ps_betta_1.blend.betta: unknown key (its value is 1)",
        ),
        (
            {"sweep": swept("ps", alpha=[2]), "contrasts": ["ps_alpha_3 - ps"]},
            "names 'ps_alpha_3', which is no condition",
        ),
    ],
)
def test_a_bad_value_is_named_with_its_key(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        study(**changes)
    assert sentence in str(error.value)


def test_numbers_written_as_words_of_yaml_are_numbers() -> None:
    assert study(blends={"layer": {"beta": "1e-4"}}).samplers()["blend_ps"].blend.beta == 1e-4


def test_a_condition_reads_shared_keys_and_may_set_its_own() -> None:
    samplers = study(conditions={"ps": {"alpha": 2}}).samplers()
    assert samplers["ps"].alpha == 2
    assert samplers["blend_ps"].alpha == 4
    assert samplers["temp"].temperature == 0.25


def test_a_sweep_varies_each_condition_with_what_it_reads_and_repeats_nothing() -> None:
    over = {"alpha": [2, 4.0], "blend.beta": [-0.1, 0.05], "blend.norm": ["none", "final"]}
    names = ["greedy", "ps", "blend_greedy", "blend_ps"]
    varied = study(use=names, sweep={"conditions": names, "over": over})
    samplers = varied.samplers()
    assert list(samplers)[:4] == names
    # greedy: itself; ps: one more alpha; blend_greedy: 4 - 1; blend_ps: 8 - 1.
    assert len(samplers) == 4 + 0 + 1 + 3 + 7
    assert samplers["blend_ps_alpha_2_beta_m0p1_norm_final"].blend.norm == "final"
    assert samplers["blend_greedy_beta_m0p1_norm_none"].blend.beta == -0.1
    assert "ps_alpha_4" not in samplers
    cells = cells_of(varied)
    assert len({cell.name for cell in cells.values()}) == len(samplers)
    named = study(conditions={"other": {"sampler": "power", "alpha": 2}}, use=["other"])
    assert cells_of(named)["other"] == cells["ps_alpha_2"]


def test_a_swept_condition_may_be_in_a_contrast() -> None:
    contrasts = ["ps_alpha_2 - ps"]
    assert study(sweep=swept("ps", alpha=[2]), contrasts=contrasts).contrasts == contrasts


def test_a_value_that_is_a_mapping_has_a_name_too() -> None:
    conditions = {"blend_ps": {"sampler": "power", "blend": {"layer": 3}}}
    sweep = Sweep(conditions=["blend_ps"], over={"blend.beta": [{"match_kl": 0.01}, -1e-4]})
    assert list(sweep.expand(conditions)) == [
        "blend_ps_beta_match_kl_0p01",
        "blend_ps_beta_m0p0001",
    ]


@pytest.mark.parametrize("grading", [{"grader": "integer"}, {"grader": "code", "run_code": True}])
def test_how_answers_are_judged_decides_no_cell_but_where_grades_are(
    grading: dict[str, Any],
) -> None:
    before = study(grading={"grader": "code", "run_code": True, "seconds": 99})
    after = study(grading=grading)
    assert cells_of(before) == cells_of(after)
    grades = Layout(before).grades(), Layout(after).grades()
    assert all(grades[0][name] != grades[1][name] for name in cells_of(after))


def test_shards_are_those_of_the_seed_study() -> None:
    assert study().shards.indices == list(range(8))
    assert sum(1 for i in range(500) if i % 40 in range(8)) == 104


def test_only_what_a_condition_reads_decides_its_cell() -> None:
    before = cells_of(study())
    after = cells_of(study(blends={"layer": {"beta": 0.1}}, samples=8, shards={"use": "0-39"}))
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"blend_greedy", "blend_ps"}


def test_equal_conditions_are_one_cell_whatever_they_are_called() -> None:
    cells = cells_of(study(conditions={"twin": {"sampler": "power"}}, use=["ps", "twin"]))
    assert cells["ps"] == cells["twin"]


def test_swapping_two_values_is_another_cell() -> None:
    one = cells_of(study(decoding={"blocks": 16, "steps": 2}))["ps"]
    other = cells_of(study(decoding={"blocks": 2, "steps": 16}))["ps"]
    assert one.name != other.name


def test_a_seed_is_a_cell_of_its_own_and_one_seed_is_the_studys() -> None:
    one = study()
    several = study(seeds=[42, 7])
    assert cells_of(study(seeds=[42])) == cells_of(several) == cells_of(one)
    for name, (first, other) in seeded_cells_of(several).items():
        assert first == cells_of(one)[name]
        assert other == cells_of(study(seed=7))[name]
        assert first.name != other.name
    layout = Layout(several)
    assert layout.answers_of("ps") == [
        path for cell in seeded_cells_of(several)["ps"] for path in layout.generated(cell)
    ]
    assert len(layout.grades()["ps"]) == 2 * len(Layout(one).grades()["ps"])
    assert {cell.name for _, cell in seeded_cells_of(several).values()} <= layout.jobs.keys()


def test_a_draft_is_trained_with_the_studys_seed_alone() -> None:
    drafted = {
        "training": {"problems": "x.jsonl", "mask_token": "?", "max_new_tokens": 8, "steps": 1},
        "blends": {"draft": {"draft": "trained", "revision": None}},
    }
    trained = training_of(study(**drafted))
    assert trained == training_of(study(seeds=[7, 8], **drafted))
    assert trained != training_of(study(seed=7, **drafted))


def test_the_schema_has_not_drifted() -> None:
    path = ROOT / "workflow" / "schemas" / "config.schema.json"
    assert json.loads(path.read_text()) == json.loads(json.dumps(study_schema())), "make schema"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"blends": {"layer": {"beta": "much"}}}, "blend.beta: Input should be a valid number"),
        ({"dataset": {"name": "absent.jsonl"}}, "dataset.name: there is no file absent.jsonl"),
        (
            {"dataset": {"columns": {"answer": "reply"}}},
            "has no column 'reply'; it has problem, solution, answer, subject, level, unique_id",
        ),
        (
            {"blends": {"layer": {"layer": 3}}},
            "conditions.blend_greedy: blend layer is 3, but the model has 3 decoder blocks",
        ),
    ],
)
def test_nothing_is_generated_under_a_bad_configuration(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    path = write_study(tmp_path, **changes)
    output = snakemake(path, check=False)
    assert sentence in output
    assert not list(tmp_path.glob("results/small/chains/*"))


def test_missing_shots_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"prompt\.shots: there is no file absent\.yaml"):
        cells_of(study(prompt={"shots": "absent.yaml"}))


def test_an_answer_that_the_model_has_no_positions_for_is_refused(tmp_path: Path) -> None:
    path = write_study(tmp_path, decoding={"max_new_tokens": 600})
    small = parsed(path)
    with pytest.raises(ConfigError, match=r"decoding\.max_new_tokens: .* has positions for 256"):
        check_study(small, None, load_problems(small.dataset))


@pytest.mark.parametrize("name", ["nobody/nothing", "./absent"])
def test_a_model_that_cannot_be_had_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    missing = study(model={"name": name})
    with pytest.raises(ConfigError, match=rf"model\.name: cannot load {name}"):
        check_study(missing, None, [])


def test_a_model_that_cannot_be_decoded_is_refused(tmp_path: Path) -> None:
    small = parsed(write_study(tmp_path))
    recurrent = tmp_path / "recurrent"
    tiny.tokenizer().save_pretrained(recurrent)
    AutoConfig.for_model("mamba", hidden_size=16, num_hidden_layers=2).save_pretrained(recurrent)
    with pytest.raises(ConfigError, match=r"model\.name: .*: decoder layer 0 \(MambaBlock: Mamba"):
        check_study(small, recurrent, load_problems(small.dataset))
