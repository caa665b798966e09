"""A stand-in for a GPU's recorder: what is asked of the device, taken down once and done again.

As in a CUDA graph, all that the host decided or had at hand is as it was when it was recorded;
tensors that stay in place are read and written anew. What would ask the device for a number, on
which the host would wait, is refused.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

ASKING = ("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "unique")
"""Operations, by the beginning of their names, whose outcome or its shape the host waits for."""


class Tape(TorchDispatchMode):
    """The operations of one run; called, it does them again."""

    def __init__(self, run: Callable[[], Tensor]) -> None:
        super().__init__()
        self._done: list[tuple[Any, Any, Any, Any]] = []
        with self:
            self.outcome = run()

    def __torch_dispatch__(
        self, function: Any, _types: Any, given: Any = (), named: Any = None
    ) -> Any:
        name = function.overloadpacket.__name__
        asks = name.startswith(ASKING) or (name.startswith("index") and _by_mask(given[1]))
        assert not asks, f"{name} makes the host wait for the device"
        made = function(*given, **(named or {}))
        self._done.append((function, given, named or {}, made))
        return made

    def __call__(self) -> None:
        """Do it all again, into the outcome of the first time."""
        present: dict[int, Tensor] = {}

        def now(value: Any) -> Any:
            return present.get(id(value), value) if isinstance(value, Tensor) else value

        for function, given, named, before in self._done:
            made = function(*tree_map(now, given), **tree_map(now, named))
            for old, new in zip(tree_flatten(before)[0], tree_flatten(made)[0], strict=True):
                if isinstance(old, Tensor):
                    present[id(old)] = new
        self.outcome.copy_(present[id(self.outcome)])


def _by_mask(indices: Any) -> bool:
    """Whether places are chosen by truth values, of which it is not known how many are true."""
    each = indices if isinstance(indices, list | tuple) else ()
    return any(isinstance(index, Tensor) and index.dtype == torch.bool for index in each)
