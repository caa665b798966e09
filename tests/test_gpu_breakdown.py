"""The breakdown of a GPU's step counts every kernel once, to the part whose code launched it."""

import argparse
import sys
from typing import Any

import pytest
import torch

import tiny
from powerblend import load_model
from small_study import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import gpu_breakdown


def event(kind: str, name: str, start: float, stop: float, number: int = 0) -> dict[str, Any]:
    return {
        **{"ph": "X", "cat": kind, "name": name, "ts": start, "dur": stop - start},
        "args": {"correlation": number},
    }


def test_a_kernel_is_its_launch_s_however_late_it_runs() -> None:
    small, products = gpu_breakdown.SMALL, gpu_breakdown.PRODUCTS
    trace = [
        event("user_annotation", small, 0, 50),
        event("user_annotation", products, 10, 20),
        event("gpu_user_annotation", products, 100, 400),
        event("cuda_runtime", "cudaLaunchKernel", 12, 14, 1),
        event("cuda_driver", "cuLaunchKernelEx", 30, 31, 2),
        event("cuda_runtime", "cudaMemsetAsync", 60, 61, 3),
        event("kernel", "gemm", 100, 300, 1),
        event("kernel", "_normed_sum", 300, 307, 2),
        event("gpu_memset", "Memset", 307, 309, 3),
        event("kernel", "of nobody", 309, 310, 4),
    ]
    works = gpu_breakdown.kernels(trace)
    found = gpu_breakdown.by_part(gpu_breakdown.ranges(trace), works)
    assert found == {products: 200, small: 7, gpu_breakdown.REST: 3}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_step_has_all_parts_and_is_left_as_it_was(dtype: torch.dtype) -> None:
    model = load_model(tiny.transformer(dtype=dtype, vocabulary=12))
    chosen = argparse.Namespace(device="cpu", prompt=5, repeats=2)
    measured = gpu_breakdown.breakdown(model, 3, chosen)
    # In float64 products and attention are no operations of torch's.
    shown = {part for part, milliseconds in measured.parts.items() if milliseconds > 0}
    missing = set() if dtype == torch.bfloat16 else {gpu_breakdown.PRODUCTS, gpu_breakdown.HEAD}
    assert set(gpu_breakdown.PARTS) - missing <= shown
    assert measured.count > 20
    again = gpu_breakdown.breakdown(model, 3, chosen)
    # Clocks round: an operation may seem to begin behind the one that it is part of.
    assert again.count == pytest.approx(measured.count, rel=0.1)
