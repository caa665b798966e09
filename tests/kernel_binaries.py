"""Compiles a GPU's kernels on a machine without one; run as a program, outside the interpreter.

Triton's interpreter takes Python that its compiler does not.
"""

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from powerblend.engine import gpu_kernels
from row_kernels import DTYPES, HEADS

TARGET = GPUTarget("cuda", 80, 32)
POINTERS = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16"}
SCALARS = {"eps": "fp32"} | dict.fromkeys(["slots", "positions"], "*i64")
SCALARS |= dict.fromkeys(["start", "by_slot", "by_head", "by_position"], "i32")


def compiled(kernel: triton.JITFunction, dtype: torch.dtype, **constants: int) -> None:
    kinds = {name: SCALARS.get(name, POINTERS[dtype]) for name in kernel.arg_names}
    kinds |= dict.fromkeys(constants, "constexpr")
    triton.compile(ASTSource(kernel, kinds, constants), target=TARGET)


if __name__ == "__main__":
    for dtype in DTYPES:
        for query_heads, kv_heads, width in HEADS.values():
            sizes = {"query_heads": query_heads, "kv_heads": kv_heads, "width": width}
            sizes["lanes"] = triton.next_power_of_2(width // 2)
            for normed in (True, False):
                compiled(gpu_kernels._placed, dtype, at_once=8, normed=normed, **sizes)
        compiled(gpu_kernels._normed_sum, dtype, width=2560, lanes=4096)
        compiled(gpu_kernels._gated, dtype, width=1100, lanes=1024)
