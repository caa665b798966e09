"""Between host and device without keeping either waiting.

On a GPU, copies go through pinned memory in stream order and the host waits for those alone that it
needs; on the CPU, where host and device are one, they are plain copies.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def upload(array: NDArray[Any], device: torch.device) -> Tensor:
    """A host array on the device, after everything that was asked of the device before."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


class Download:
    """A tensor on its way to the host; what is asked of the device later does not delay it."""

    def __init__(self, tensor: Tensor) -> None:
        self._host = tensor.to("cpu", non_blocking=True, copy=True)
        self._arrived = torch.cuda.Event() if tensor.is_cuda else None
        if self._arrived is not None:
            self._arrived.record(torch.cuda.current_stream(tensor.device))

    def wait(self) -> NDArray[Any]:
        """The array, once it is there."""
        if self._arrived is not None:
            self._arrived.synchronize()
        array: NDArray[Any] = self._host.numpy()
        return array


class Reader:
    """Reads what was asked of the device before a fence, while it does what was asked after.

    The caller knows that the latter writes nothing that is read.
    """

    def __init__(self, device: torch.device) -> None:
        self._beside = torch.cuda.Stream(device) if device.type == "cuda" else None

    def fence(self) -> None:
        """What is asked of the device from now on delays no reading, up to the next fence."""
        if self._beside is not None:
            self._beside.wait_stream(torch.cuda.current_stream(self._beside.device))

    def read(self, tensors: Sequence[Tensor]) -> list[NDArray[Any]]:
        """Copies on the host."""
        with torch.cuda.stream(self._beside):  # None: the stream that it is
            downloads = [Download(tensor) for tensor in tensors]
        return [download.wait() for download in downloads]
