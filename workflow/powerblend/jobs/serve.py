"""Serve a model to programs that speak the OpenAI API.

powerblend serve results/models/smollm2-135m-instruct
powerblend serve Qwen/Qwen3-4B --dtype bfloat16 --device cuda --config config.yaml

Clients find it at http://127.0.0.1:8000/v1. They choose a way of decoding by keys of their own, as
{"sampler": "power", "alpha": 4.0, "blocks": 4}, or by the name of a condition of --config, as the
model smollm2-135m-instruct:ps.
"""

import argparse
import logging
import os
from pathlib import Path

import uvicorn
import yaml
from pydantic import BaseModel, JsonValue

from powerblend.api.loading import DTYPES, load_model
from powerblend.blends import DraftBlend
from powerblend.draft.dflash import load_draft
from powerblend.jobs import arguments
from powerblend.samplers import Sampler
from powerblend.server.application import application
from powerblend.server.engine_thread import EngineThread
from powerblend.study.resolve import Conditions

log = logging.getLogger(__name__)

KEY = "POWERBLEND_API_KEY"
"""The environment variable with the key that clients must send: a command line is seen by all."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")

GRACE_SECONDS = 5
"""For requests under way when the server is told to end."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the model, how it is decoded, and where it is found."""
    parser.add_argument("model", help="a directory, or a hub id")
    parser.add_argument("--name", help="what clients call it (default: the end of MODEL)")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="PATH",
        help="YAML whose conditions clients can name, with decoding and blends as a study has them",
    )
    parser.add_argument("--draft", help="of the blends that have one as their source")
    parser.add_argument("--host", default="127.0.0.1", help="(default 127.0.0.1: this machine)")
    parser.add_argument("--port", type=int, default=8000, help="(default 8000)")
    parser.add_argument(
        "--queue", type=int, default=1024, help="answers that may wait; then 429 (default 1024)"
    )
    parser.add_argument(
        "--timeout", type=float, default=600.0, help="seconds of a request; then 504 (default 600)"
    )
    arguments.add_rows(parser)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="(default cpu)")
    parser.add_argument(
        "--dtype", choices=list(DTYPES), default="float32", help="(default float32)"
    )


def run(options: argparse.Namespace) -> None:
    """Listen until told to end."""
    named = conditions(options.config, bool(options.draft)) if options.config else {}
    key = os.environ.get(KEY)
    if options.host not in LOOPBACK and not key:
        log.warning("%s is not set: whoever reaches this machine can use the model", KEY)
    draft = load_draft(options.draft) if options.draft else None
    model = load_model(options.model, dtype=options.dtype, device=options.device, draft=draft)
    name = options.name or options.model.rstrip("/").split("/")[-1]
    engine = EngineThread(model, options.rows, options.queue, options.speculate)
    served = application(model, engine, name=name, named=named, timeout=options.timeout, key=key)
    for condition in ("", *(f":{condition}" for condition in named)):
        log.info("model %s%s", name, condition)
    log.info("at http://%s:%d/v1", options.host, options.port)
    uvicorn.run(
        served,
        host=options.host,
        port=options.port,
        log_level="warning",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


class ServedConditions(BaseModel):
    """What a server reads of a study's configuration; the rest is passed over."""

    conditions: dict[str, dict[str, JsonValue]]
    decoding: dict[str, JsonValue] = {}
    blends: dict[str, dict[str, JsonValue]] = {}


def conditions(path: Path, has_draft: bool) -> dict[str, Sampler]:
    """The conditions of a configuration; those that need what is not at hand are left out.

    Raises
    ------
    ValueError
        With a sentence for everything that is wrong.
    """
    read = ServedConditions.model_validate(yaml.safe_load(path.read_text()))
    written = Conditions(read.conditions, read.decoding, read.blends, list(read.conditions), None)
    errors = list(written.errors())
    if errors:
        raise ValueError("\n".join(f"{path}: {error}" for error in errors))
    served = {}
    for name, (sampler, match) in written.in_use.items():
        if match is not None:
            log.warning("%s is left out: its beta is for a study's probe to find", name)
        elif isinstance(sampler.blend, DraftBlend) and not has_draft:
            log.warning("%s is left out: it needs a draft (--draft)", name)
        else:
            served[name] = sampler
    return served
