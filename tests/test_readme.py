"""What README and documentation say is so: links, commands, tables, pictures, and the example."""

import contextlib
import io
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import powerblend
from powerblend.cli import JOBS
from small_study import ROOT

README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md", *DOCS]
RESULTS = ROOT / "benchmarks" / "results"

COLUMNS = {
    "chains": ["problems per hour", "powerblend is faster by"],
    "step": [
        "powerblend, tokens/s",
        "HF generate, 2 × 1 thread",
        "HF generate, 1 × 2 threads",
        "of the floor",
    ],
    "breakdown": [
        "layers' products",
        "lm_head",
        "attention",
        "norms, rotation, gates",
        "draw",
        "books",
        "step",
    ],
    "work": [
        "naive",
        "+ prefix reuse",
        "+ divergence skip",
        "+ early rejection",
        "of naive",
    ],
    "prefetch": [
        "accepted",
        "kept",
        "passes",
        "passes, at the end",
        "saved, at the end",
        "saved, twice the rows",
        "saved, rejected",
        "saved, any",
    ],
    "gpu": ["powerblend, tokens/s", "HF generate, tokens/s", "ratio", "of the floor", "host"],
    "host": [
        "turns a step",
        "operations a step",
        "host, ms a step",
        "device, ms a step",
        "lost",
    ],
}
"""What of a benchmark's results the documentation shows, after the columns that name a line."""


def page(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def prose(text: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def names(paths: list[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


def test_the_readme_is_short_and_has_two_pictures() -> None:
    text = page(README)
    assert len(text.splitlines()) <= 130
    assert text.count("<picture>") == 2
    pictures = re.findall(r'(?:src|srcset)="([^"]+)"', text)
    assert len(pictures) == 4
    for picture in pictures:
        assert (ROOT / picture).read_text(encoding="utf-8").startswith("<?xml")


@pytest.mark.parametrize("path", PAGES, ids=names(PAGES))
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page(path))):
        if link.startswith(("http://", "https://")):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{link} leads nowhere"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(page(target)), f"{link}: there is no such heading"


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_a_link_that_leads_nowhere_is_noticed(tmp_path: Path) -> None:
    wrong = tmp_path / "page.md"
    for link in ("absent.md", "page.md#absent"):
        wrong.write_text(f"# Page\n[here]({link})\n")
        with pytest.raises(AssertionError, match=r"leads nowhere|no such heading"):
            test_links_lead_somewhere(wrong)


def test_every_study_is_named_and_no_other() -> None:
    studies = {path.stem for path in (ROOT / "resources" / "studies").glob("*.yaml")}
    for path in (README, ROOT / "docs" / "studies.md"):
        (table,) = (rows for rows in tables(page(path)) if rows[0][0] == "study")
        assert {name for row in table[1:] for name in re.findall(r"`(\w+)`", row[0])} == studies


def test_the_stages_of_the_readme_are_rules() -> None:
    (graph,) = re.findall(r"```mermaid\n(.*?)```", page(README), re.DOTALL)
    stages = set(re.findall(r"\w+", graph)) - {"flowchart", "LR"}
    assert len(stages) <= 8
    assert stages <= rules()


def rules() -> set[str]:
    """The rules of the workflow; one for groups of shards has its name in a loop."""
    text = "".join(page(path) for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    written = r"^rule (\w+):|^use rule \w+ as (\w+)|name:\s+\"(\w+)\""
    return {name for found in re.findall(written, text, re.MULTILINE) for name in found if name}


def test_every_rule_is_a_stage_of_some_study() -> None:
    written = page(ROOT / "docs" / "studies.md")
    for rule in rules():
        assert f"`{rule}`" in written


def commands(text: str) -> Iterator[str]:
    """Commands of a page: lines of its shell blocks, and what its prose puts between backticks."""
    for block in re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        lines = block.replace("\\\n", " ").splitlines()
        yield from (line.split("#")[0].strip() for line in lines)
    yield from re.findall(r"`((?:make|snakemake|\.venv/bin/\w+) [^`]+)`", prose(text))


def test_every_page_is_in_the_sites_contents() -> None:
    contents = page(ROOT / "mkdocs.yml").partition("\nnav:")[2]
    assert set(re.findall(r"(\w+\.md)", contents)) == {path.name for path in DOCS}


@pytest.mark.parametrize("path", PAGES, ids=names(PAGES))
def test_commands_can_be_run(path: Path) -> None:
    for command in filter(None, commands(page(path))):
        assert known(command.split()), command


def known(words: list[str]) -> bool:
    """Whether what a command names is there: a target, a benchmark and its options, a study."""
    tool, *rest = words
    if tool == "make":
        makefile = page(ROOT / "Makefile")
        goals = [word for word in rest if "=" not in word]
        return all(re.search(rf"^{re.escape(goal)}:", makefile, re.MULTILINE) for goal in goals)
    if tool.endswith("pip"):
        extras = tomllib.loads(page(ROOT / "pyproject.toml"))["project"]["optional-dependencies"]
        return set(re.findall(r"\.\[(\w+)\]", " ".join(rest))) <= set(extras)
    if tool == ".venv/bin/python" and rest[:2] == ["-m", "powerblend"]:
        files = [word for word in rest if word.endswith(".yaml")]
        return rest[2] in ("--help", *JOBS) and all((ROOT / file).exists() for file in files)
    if tool == ".venv/bin/python":
        script = ROOT / rest[0]
        options = page(script) + page(ROOT / "benchmarks" / "bench.py")
        return all(word in options for word in rest[1:] if word.startswith("--"))
    if tool == ".venv/bin/pytest":
        return all((ROOT / word).exists() for word in rest if word.endswith(".py"))
    if tool in {"snakemake", ".venv/bin/snakemake"}:
        files = [word for word in rest if "/" in word]
        written = {"early_layer.yaml"}  # by the guide itself
        files += [word for word in rest if word.endswith(".yaml") and word not in written]
        return all((ROOT / file).exists() for file in files)
    return tool == ".venv/bin/hf"


@pytest.mark.parametrize(
    "command",
    [
        "make tea",
        "pip install .[tea]",
        ".venv/bin/python benchmarks/step.py --tea",
        ".venv/bin/snakemake --configfile resources/studies/tea.yaml",
        "tea",
    ],
)
def test_a_command_that_cannot_be_run_is_noticed(command: str) -> None:
    assert not known(command.split())


def tables(text: str) -> list[list[list[str]]]:
    """The tables of a page, each a list of lines of cells, its header first."""
    found = []
    for table in re.findall(r"((?:^\|.*\n)+)", text, re.MULTILINE):
        lines = [line.strip("|").split(" | ") for line in table.splitlines()]
        found.append([[cell.strip(" |") for cell in line] for line in lines if "--" not in line[0]])
    return found


def measured(text: str) -> Iterator[tuple[str, list[list[str]]]]:
    """The tables that a benchmark made, with its name: that of the command named before it."""
    for part in re.split(r"(?=benchmarks/\w+\.py)", text)[1:]:
        name = re.match(r"benchmarks/(\w+)\.py", part)
        shown = tables(part)
        if name and name[1] in COLUMNS and shown:
            yield name[1], shown[0][1:]


def newest(name: str) -> list[dict[str, Any]]:
    lines = page(RESULTS / f"{name}.jsonl").splitlines()
    return json.loads(lines[-1])["rows"]


def matching(name: str, index: int, cells: list[str]) -> dict[str, Any]:
    """The line of results that a line of a table shows."""
    rows = newest(name)
    if name == "chains":
        return rows[index]
    if name == "prefetch":
        return next(row for row in rows if [row["way"], str(row["chains"])] == cells[:2])
    if name != "work":
        return next(row for row in rows if next(iter(row.values())) == int(cells[0]))
    condition, _, proposal = cells[0].replace("`", "").partition(", proposal ")
    label = f"{condition}, {proposal} proposal" if proposal else condition
    return next(row for row in rows if (row["condition"], row["α"]) == (label, float(cells[1])))


def shows(cell: str, value: float) -> bool:
    """Whether a cell is the value, to the digits that it has; an empty one is 1, of itself."""
    if not cell:
        return value == 1
    number = re.sub(r"[,%×\s]", "", cell)
    digits = len(number.partition(".")[2])
    return abs(float(number) - value * (100 if "%" in cell else 1)) <= 0.5 * 10**-digits + 1e-9


@pytest.mark.parametrize("path", [README, ROOT / "docs" / "performance.md"], ids=["readme", "docs"])
def test_tables_of_speed_are_the_newest_runs(path: Path) -> None:
    shown = dict(measured(page(path)))
    assert set(shown) == ({"chains"} if path == README else set(COLUMNS))
    for name, rows in shown.items():
        for index, cells in enumerate(rows):
            run, columns = matching(name, index, cells), COLUMNS[name]
            for key, cell in zip(columns, cells[-len(columns) :], strict=True):
                assert shows(cell, run[key]), f"{name}, {cells}: {key} is {run[key]}"


def test_a_number_that_was_not_measured_is_noticed() -> None:
    assert shows("12,552", 12552.08)
    assert shows("38 ×", 37.77)
    assert shows("3%", 0.0266)
    assert not shows("12,553", 12552.08)
    assert not shows("4%", 0.0266)
    assert not shows("2.5 ×", 2.36)


def test_sentences_of_speed_are_the_newest_runs() -> None:
    ratios = [row["ratio"] for row in newest("gpu")]
    assert f"{min(ratios):.1f} to {max(ratios):.1f}" in " ".join(page(README).split())
    runs = {row["case"]: row for row in newest("scaling")}
    problems = [runs[f"{count} problems"] for count in (13, 26, 52)]
    seconds, memory = ([round(run[key]) for run in problems] for key in ("seconds", "memory, MiB"))
    few = [round(runs[f"26 problems, {rows} rows"]["seconds"]) for rows in (2, 8)]
    sentence = " ".join(page(ROOT / "docs" / "performance.md").split())
    assert "13, 26 and 52 problems at once take {}, {} and {} seconds".format(*seconds) in sentence
    assert "{}, {} and {} MiB beyond the model".format(*memory) in sentence
    assert "take {} seconds in 2 rows and {} in 8".format(*few) in sentence


def test_tables_of_results_are_drawn_from_their_history() -> None:
    with imported("benchmarks", "bench") as bench:
        for path in RESULTS.glob("*.jsonl"):
            assert page(path.with_suffix(".md")) == bench.as_markdown(bench.runs_of(path.stem))
        assert {path.stem for path in RESULTS.glob("*.md")} == {
            path.stem for path in RESULTS.glob("*.jsonl")
        }


def test_a_run_is_added_and_the_newest_is_shown_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with imported("benchmarks", "bench") as bench:
        monkeypatch.setattr(bench, "RESULTS", tmp_path)
        for speed in (1.25, 2.5):
            bench.write_table("tea", "Cups an hour", [{"pot": "blue", "cups": speed}], "Green.")
        runs = bench.runs_of("tea")
    assert [run["rows"][0]["cups"] for run in runs] == [2.5, 1.25]
    assert all(run["date"] and run["machine"] and run["revision"] for run in runs)
    text = page(tmp_path / "tea.md")
    assert (
        text.index("| blue | 2.5 |") < text.index("## Earlier runs") < text.index("| blue | 1.25")
    )
    assert "| blue | 1.25 |" in capsys.readouterr().out


def test_the_picture_of_the_result_shows_the_demos_report() -> None:
    with imported("docs/images", "draw") as draw:
        rows = draw.overall()
        for drawn in (ROOT / "docs" / "images").glob("result-*.svg"):
            (shown,) = re.findall(r"<dc:description>(.*?)</dc:description>", page(drawn))
            assert json.loads(shown.replace("&quot;", '"')) == rows
    assert [row["condition"] for row in rows] == list(draw.DECODERS)


def test_every_key_of_the_configuration_is_described() -> None:
    schema = json.loads(page(ROOT / "workflow" / "schemas" / "config.schema.json"))
    with imported("docs", "hooks") as hooks:
        written = hooks.on_page_markdown(page(ROOT / "docs" / "configuration.md"))
    keys = set(schema["properties"])
    for section in schema["$defs"].values():
        keys |= {name for name, key in section.get("properties", {}).items() if "const" not in key}
    for condition in schema["properties"]["conditions"]["additionalProperties"]["anyOf"]:
        keys |= set(condition["properties"]) - {"sampler"}
    described = set(
        re.findall(r"^\| \[?`(\w+)`", written.partition("## Every key")[2], re.MULTILINE)
    )
    assert keys <= described
    assert {"beta", "layer", "norm", "draft"} <= described


@contextlib.contextmanager
def imported(folder: str, name: str) -> Iterator[Any]:
    """A module of a folder that is no package."""
    sys.path.insert(0, str(ROOT / folder))
    try:
        yield __import__(name)
    finally:
        sys.path.remove(str(ROOT / folder))


def test_the_version_stands_in_one_place() -> None:
    project = tomllib.loads(page(ROOT / "pyproject.toml"))["project"]
    assert "version" not in project
    assert "version" in project["dynamic"]
    assert "version" not in yaml.safe_load(page(ROOT / "CITATION.cff"))
    (newest_release, *_) = re.findall(r"^## \[(\d.*?)\]", page(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert newest_release == powerblend.__version__


def test_the_workflow_of_github_calls_the_gate_and_nothing_else() -> None:
    workflow = yaml.safe_load(page(ROOT / ".github" / "workflows" / "ci.yml"))
    (job,) = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert (ROOT / ".ci" / "run").exists()


def test_the_example_says_what_it_says(
    embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The README's example, as it stands there, where its model is."""
    example, output = re.search(
        r"```python\n(.*?)```\n\n```text\n(.*?)```", page(README), re.DOTALL
    ).groups()
    place = tmp_path / "results" / "models" / "smollm2-135m-instruct"
    place.parent.mkdir(parents=True)
    place.symlink_to(embedded.resolve())
    monkeypatch.chdir(tmp_path)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(example, {})
    assert said.getvalue() == output
