"""What a dataset, a configuration or a model wrote is data: never run by a shell, never markup."""

import json
import pickle
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

import tiny
from powerblend import load_model
from powerblend.cli import main
from powerblend.figures import FIGURES
from powerblend.infrastructure.files import read_jsonl, write_jsonl
from powerblend.study.cells import Cell, cells_of
from powerblend.study.layout import Layout
from powerblend.study.prompts import tokenise
from powerblend.study.schema import parse_study
from powerblend.vocabulary.errors import ConfigError
from powerblend.vocabulary.specs import Prompt
from small_study import ROOT, merged, parsed, snakemake, write_study
from test_report import HOSTILE, Page

COMMANDS = "$(touch pwned) `touch pwned`; touch pwned & 'touch pwned' \"$(touch pwned)\" {x} \\"
"""What a shell or Snakemake would act on."""

TEXTS = [*HOSTILE, COMMANDS, "$(touch pwned)", "{{ 7 * 7 }} {% raw %}", "'; touch pwned #"]
BASE: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text())
PAPERS = "2510.14901", "2602.06036", "2609.38104"
LINKS = {f"https://arxiv.org/abs/{paper}" for paper in PAPERS}
ACTIVE = {"script", "iframe", "object", "embed", "form", "input", "svg", "link", "base"}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a study of hostile texts, of which the workflow has run a condition."""
    folder = tmp_path_factory.mktemp("hostile")
    data = folder / "a 'b' \"c\" $(touch pwned) `touch pwned`; & #.jsonl"
    study = write_study(
        folder,
        title=COMMANDS + "\n# <script>alert(1)</script>",
        dataset={"name": str(data)},
        prompt={"system": COMMANDS, "template": COMMANDS + "\n{problem}\n" + COMMANDS},
        shards={"of": 1, "use": [0]},
        decoding={"max_new_tokens": 2, "blocks": 1, "steps": 1},
        use=["greedy", "temp"],
        contrasts=["temp - greedy"],
    )
    tiny.save(folder / "model", max_position_embeddings=1024)
    rows = [
        {"problem": t, "answer": t, "subject": t, "unique_id": f"{n} {t}", "level": 1}
        for n, t in enumerate(TEXTS)
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    study = study.rename(folder / "$(touch pwned) 'study'.yaml")
    snakemake(study, "--", *map(str, Layout(parsed(study)).generated(cell(study, "greedy"))))
    return study


def cell(study: Path, condition: str) -> Cell:
    return cells_of(parsed(study))[condition]


def test_no_shell_runs_what_a_study_says(ran: Path) -> None:
    study = parsed(ran)
    layout = Layout(study)
    kept = json.loads((ran.parent / layout.config).read_text())
    assert kept["title"] == study.title
    assert kept["prompt"]["system"] == COMMANDS
    (records,) = layout.generated(cell(ran, "greedy"))
    problems = read_jsonl(ran.parent / layout.problems)
    assert [row["problem"] for row in problems] == TEXTS
    answered = [row["problem_id"] for row in read_jsonl(ran.parent / records)]
    assert answered == [row["unique_id"] for row in problems]
    plan = snakemake(ran, "--dry-run", "--printshellcmds", "--", str(layout.report))
    (report,) = [line for line in plan.splitlines() if " report --config " in line]
    command = shlex.split(report)[-1]
    assert shlex.split(command) == ["snakemake", "--cores", "all", "--configfile", ran.name]
    assert not list(ran.parent.rglob("pwned"))


@pytest.fixture(scope="module")
def written(ran: Path) -> tuple[str, str]:
    """The report of the same study, had its model answered in hostile texts: .md and .html."""
    layout = Layout(parsed(ran))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ran.parent)
        (records,) = layout.generated(cell(ran, "greedy"))
        for name in ("greedy", "temp"):
            (grades,) = layout.graded(cell(ran, name))
            answer(records, name)
            shard = layout.problems_dir / "shard-0-of-1.jsonl"
            options = {"spec": layout.grading_spec, "records": records, "problems": shard}
            assert main(["grade", *pairs(**options, output=grades)]) == 0
            disagree(grades)
        write_report(layout)
    report = ran.parent / layout.report
    return report.read_text(), report.with_suffix(".html").read_text()


def answer(records: Path, condition: str) -> None:
    """Put texts into a condition's completions; only the first answers every other problem."""
    rows = read_jsonl(records)
    for number, (row, text) in enumerate(zip(rows, TEXTS, strict=True)):
        boxed = text if number % 2 and condition == "greedy" else f"<b>{text}</b>"
        row["completion"] = text + r" \boxed{" + boxed.replace("{", "").replace("}", "") + "}"
    write_jsonl(records, rows)


def disagree(grades: Path) -> None:
    """Let the graders differ on every answer, and give a reason."""
    rows = read_jsonl(grades)
    for row, text in zip(rows, TEXTS, strict=True):
        row |= {"second": not row["correct"], "reason": text}
    write_jsonl(grades, rows)


def write_report(layout: Layout) -> None:
    figures = [layout.figures / f"{name}.png" for name in FIGURES]
    for figure in figures:
        figure.parent.mkdir(parents=True, exist_ok=True)
        figure.write_bytes(b"pixels")
    overall, summary = layout.tables / "overall.csv", layout.tables / "summary.json"
    config = {"config": layout.config}
    assert main(["tables", *pairs(**config, output=overall, summary=summary)]) == 0
    material = {"checked": layout.checked, "summary": summary}
    published = {"published": ROOT / "resources" / "published.yaml", "command": COMMANDS}
    target = {"output": layout.report, "html": layout.report.with_suffix(".html")}
    options = pairs(**config, **material, **published, **target)
    assert main(["report", *options, "--figures", *map(str, figures)]) == 0


def pairs(**options: object) -> list[str]:
    return [word for key, value in options.items() for word in (f"--{key}", str(value))]


@pytest.fixture(autouse=True)
def _usual_signals() -> Iterator[None]:
    yield
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_a_report_shows_completions_problems_and_ids_as_text(written: tuple[str, str]) -> None:
    markdown, html = written
    # As a renderer that lets HTML pass would show the one, and a browser the other.
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)
    for page, scripts in ((Page(rendered), 0), (Page(html), 1)):
        names = [tag for tag, _ in page.tags]
        assert not (ACTIVE - {"script"}) & set(names)
        assert names.count("script") == scripts  # the page's own
        contents = {f"#{attributes['id']}" for _, attributes in page.tags if "id" in attributes}
        assert {str(a["href"]) for tag, a in page.tags if tag == "a"} <= LINKS | contents
        assert names.count("img") == markdown.count("](small/")
        assert names.count("h1") == 1
        assert not [key for _, attributes in page.tags for key in attributes if key[:2] == "on"]
        shown = {cell.strip() for row in page.rows for cell in row}
        for text in ("<script>alert(1)</script>", "[click](javascript:alert(1))", "a|b|c"):
            assert text in shown


@pytest.mark.parametrize(
    "name",
    ["", "a b", "a/b", "../a", "a;b", "$(a)", "a`b`", "<b>", "a\n", "-a", "1a", "a{b}", "ä"],
)
def test_names_that_become_paths_are_plain(name: str) -> None:
    with pytest.raises(ConfigError, match="study: "):
        parse_study(merged(BASE, {"study": name}))
    with pytest.raises(ConfigError, match=r"(?s)conditions\..*: use a letter, then letters"):
        parse_study(merged(BASE, {"conditions": {name: {"sampler": "greedy"}}, "use": [name]}))


@pytest.mark.parametrize("name", ["$(touch x)", "../../x", "a b", "", "..", "x;y", "a\n"])
def test_embedded_models_have_plain_names(name: str) -> None:
    with pytest.raises(ConfigError, match="names no embedded model"):
        Layout(parse_study(merged(BASE, {"model": {"name": f"embedded/{name}"}})))


class Payload:
    """Touches a file as it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def test_pickled_weights_are_refused_unread(tmp_path: Path) -> None:
    model = tiny.save(tmp_path / "model")
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(tmp_path / "pwned")))
    with pytest.raises(OSError, match=r"no file named model\.safetensors"):
        load_model(model)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_that_comes_with_a_model_is_not_run(tmp_path: Path, file: str) -> None:
    model = tiny.save(tmp_path / "model")
    (model / "own.py").write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')\n")
    settings = json.loads((model / file).read_text())
    own = {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}
    classes = {**own, "AutoTokenizer": ["own.T", "own.T"]}
    settings |= {"auto_map": classes, "model_type": "own", "tokenizer_class": "Own"}
    (model / file).write_text(json.dumps(settings))
    with pytest.raises(OSError, match="contains custom code"):
        load_model(model)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "template",
    [
        "{% for c in ().__class__.__base__.__subclasses__() %}{{ c }}{% endfor %}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__.os.system('touch pwned') }}",
        "{{ raise_exception('no') }}",
        "{{ messages",
    ],
)
def test_a_chat_template_stays_in_its_sandbox(template: str) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(ConfigError, match=r"model\.name: the model's chat template fails: "):
        tokenise(tokenizer, "?", Prompt(template="{problem}"))


def test_a_problem_is_no_template() -> None:
    prompt = Prompt(template="Q: {problem}")
    text = "{{ 7 * 7 }} {problem} {% if x %}"
    words = tiny.tokenizer()
    assert f"Q: {text}" in words.decode(tokenise(words, text, prompt))
