"""Norms, rotation into the cache, gates and residual sums on a GPU, each of them one kernel.

What `compiled_rows` is on the CPU: torch has five to twenty operations for each of them, and every
one is a kernel whose start takes longer than a step of few rows needs for its arithmetic. Whether
they serve is decided here; the kernels are in `gpu_kernels`, which is imported where there is a GPU
for it. Without Triton torch's operations serve.
"""

import logging
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor

from powerblend.engine.compiled_rows import Angles, HeadNorms, Where

log = logging.getLogger(__name__)

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
"""What arithmetic in float32 is precise enough for."""


def on_gpu(tensor: Tensor) -> bool:
    """Whether a tensor is where kernels run."""
    return tensor.is_cuda


def has_kernels(tensor: Tensor) -> bool:
    """Whether there are kernels for a tensor's dtype where it is."""
    known = on_gpu(tensor) and tensor.dtype in DTYPES
    return known and _kernels(tensor.device) is not None


def serves(*tensors: Tensor) -> bool:
    """Whether kernels serve tensors, all alike: none of them has a gradient."""
    first = tensors[0]
    if not has_kernels(first):
        return False
    learns = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    alike = all(t.dtype == first.dtype and t.device == first.device for t in tensors)
    return alike and not learns


def places(
    by_head: Tensor, angles: Angles, own: tuple[Tensor, Tensor], norms: HeadNorms | None
) -> bool:
    """Whether `placed` serves, of heads as wide as the cache's."""
    tokens, _, width = by_head.shape
    keys, values = own
    weights = () if norms is None else (norms.weight,)
    return (
        serves(by_head, *angles, keys, values, *weights)
        and by_head.is_contiguous()
        and all(a.shape == (tokens, 1, width) and a.is_contiguous() for a in angles)
        and width % 2 == 0
        and width == keys.shape[-1]
        and keys.stride() == values.stride()
        and keys.stride(-1) == 1
    )


def placed(
    by_head: Tensor,
    angles: Angles,
    own: tuple[Tensor, Tensor],
    where: Where,
    norms: HeadNorms | None,
) -> Tensor:
    """Queries [tokens, heads, width], rotated; keys, rotated too, and values go into the cache."""
    placing = _kernels(by_head.device).placed
    return cast(Tensor, placing(by_head, angles, own, where, norms))


def normed_sum(left: Tensor, right: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The sum of two tensors [..., width], and its RMS norm."""
    norming = _kernels(left.device).normed_sum
    return cast(tuple[Tensor, Tensor], norming(left.contiguous(), right.contiguous(), weight, eps))


def gated(both: Tensor) -> Tensor:
    """silu(gate) * up of [..., gate and up side by side], [..., half as many]."""
    return cast(Tensor, _kernels(both.device).gated(both.contiguous()))


@cache
def _kernels(device: torch.device) -> Any:
    """The kernels, if they run on a device, which is tried; None without."""
    try:
        from powerblend.engine import gpu_kernels

        numbers = torch.ones(1, 16, device=device)
        gpu_kernels.normed_sum(numbers, numbers, numbers[0], 1e-6)
    # Of whatever kind: Triton compiles with the system's compiler, Python's headers and drivers.
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        log.warning("no Triton on %s, so torch's own operations: %s", device, reason[0][:200])
        return None
    return gpu_kernels
