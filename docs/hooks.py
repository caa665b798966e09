"""What mkdocs does to the pages of the site: the configuration's keys are drawn from its schema.

Reads ``workflow/schemas/config.schema.json``, which a test holds to the code, and the models of the
blends, whose keys the schema leaves open. Knows nothing else of the package.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.json"
MARK = "<!-- the configuration's keys -->"
"""Stands in a page where the tables go."""

Schema = dict[str, Any]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the tables where the page asks for them; mkdocs calls this for every page."""
    return markdown.replace(MARK, configuration()) if MARK in markdown else markdown


def configuration() -> str:
    """Every key of a study's configuration, a heading and a table for each section."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return "\n".join(_sections(schema))


def _sections(schema: Schema) -> Iterator[str]:
    yield "### The study\n"
    yield _table(schema, schema)
    for name, key in schema["properties"].items():
        if name == "conditions":
            yield from _variants(name, key["additionalProperties"]["anyOf"], schema)
        elif name == "blends":
            yield from _variants(name, _blends(), schema)
        elif name == "grading":
            yield from _variants(name, [_resolved(v, schema) for v in key["oneOf"]], schema)
        elif section := _section(key, schema):
            yield f"### `{name}`\n\n{_prose(section['description'])}\n"
            yield _table(section, schema)


def _variants(name: str, variants: list[Schema], schema: Schema) -> Iterator[str]:
    """A section whose keys depend on one of them, as a condition's on its sampler."""
    yield f"### `{name}`\n\n{schema['properties'][name]['description'].capitalize()}.\n"
    for variant in variants:
        key, value = next((k, p["const"]) for k, p in variant["properties"].items() if "const" in p)
        yield f"**`{key}: {value}`**: {_prose(variant['description'])}\n"
        if len(variant["properties"]) > 1:
            yield _table(variant, schema, others=variants)


def _table(section: Schema, schema: Schema, others: list[Schema] | None = None) -> str:
    lines = ["| key | type | default | meaning |", "| :-- | :-- | :-- | :-- |"]
    required = section.get("required", [])
    for name, key in section["properties"].items():
        if others and "const" in key:
            continue  # it is the heading
        default = "required" if name in required else _default(key, schema)
        meaning = _meaning(name, key, schema, others or [])
        linked = section is schema and _has_table(name, key)
        shown = f"[`{name}`](#{name})" if linked else f"`{name}`"
        lines.append(f"| {shown} | {_type(key, schema)} | {default} | {meaning} |")
    return "\n".join(lines) + "\n"


def _has_table(name: str, key: Schema) -> bool:
    """Whether a key of the study is a section with keys of its own."""
    return name in {"conditions", "blends", "grading"} or "$ref" in json.dumps(key)


def _meaning(name: str, key: Schema, schema: Schema, others: list[Schema]) -> str:
    """Its description, or that of the section it refers to, or of another variant's same key."""
    section = _section(key, schema)
    same = [variant["properties"].get(name, {}) for variant in others]
    places = [key, section or {}, *same]
    text = next((place["description"] for place in places if place.get("description")), None)
    if text is None:
        raise ValueError(f"the configuration's key {name} has no description")
    return _cell(_prose(text).rstrip("."))


def _type(key: Schema, schema: Schema) -> str:
    key = key if "$ref" not in key else _resolved(key, schema)
    for kind in ("anyOf", "oneOf"):
        if kind in key:
            parts = [_type(part, schema) for part in key[kind] if part.get("type") != "null"]
            return " or ".join(dict.fromkeys(parts))
    if "enum" in key:
        return " or ".join(f"`{value}`" for value in key["enum"])
    if "const" in key:
        return f"`{key['const']}`"
    if key.get("type") == "array":
        item = _type(key.get("items", {}), schema)
        items = re.sub("(text|number)", r"\1s", item)
        return "list" if item == "any" else f"list of {items}"
    kinds = key.get("type", "any")
    names = [_NAMES.get(kind, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)]
    return " or ".join(names) + _limits(key)


_NAMES = {
    "object": "mapping",
    "string": "text",
    "integer": "whole number",
    "boolean": "`true` or `false`",
}
_BOUNDS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}


def _limits(key: Schema) -> str:
    limits = [f"{sign} {key[bound]}" for bound, sign in _BOUNDS.items() if bound in key]
    return f" {', '.join(limits)}" if limits else ""


def _default(key: Schema, schema: Schema) -> str:
    if _section(key, schema):
        return "see below" if key.get("default") is not None else "—"
    default = key.get("default")
    return "—" if default is None else _cell(f"`{json.dumps(default, ensure_ascii=False)}`")


def _section(key: Schema, schema: Schema) -> Schema | None:
    """The mapping with keys of its own that a key refers to, if it does."""
    references = [key, *key.get("anyOf", [])]
    return next((_resolved(part, schema) for part in references if "$ref" in part), None)


def _resolved(key: Schema, schema: Schema) -> Schema:
    return schema["$defs"][key["$ref"].rsplit("/", 1)[1]] if "$ref" in key else key


def _blends() -> list[Schema]:
    sys.path.insert(0, str(ROOT / "workflow"))
    from pydantic import TypeAdapter

    from powerblend.blends import AnyBlend

    schema = TypeAdapter(AnyBlend).json_schema()
    return [_resolved(variant, schema) for variant in schema["oneOf"]]


def _prose(text: str) -> str:
    """A docstring as a line of Markdown."""
    return " ".join(text.replace("``", "`").split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
