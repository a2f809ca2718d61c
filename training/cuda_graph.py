"""Record the kernels of a function as a CUDA graph and replay them with one call.

Useful for small models, whose kernels take less time than Python needs to launch them.
"""

from collections.abc import Callable, Sequence

import torch

from utils.cli import UserError


def record(function: Callable[[], torch.Tensor]) -> tuple[Callable[[], object], torch.Tensor]:
    """Record a function. Returns a function that replays it, and the tensor that then holds the result."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):  # warm-up, which PyTorch requires: libraries and autograd make their allocations
            function()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    # thread_local, because the loader's threads allocate page-locked memory at the same time.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        result = function()
    return graph.replay, result


class Recorded:
    """A function of tensors, recorded at the first call with given input shapes and then replayed.

    It must not wait for the device, and all other tensors that it reads must stay at their addresses. Each call
    overwrites the last result. Raises UserError if the function cannot be recorded.
    """

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        self._function = function
        self._key: object = None
        self._recording: tuple[Callable[[], object], torch.Tensor] | None = None

    def __call__(self, settings: object, *inputs: torch.Tensor) -> torch.Tensor:
        """Call the function. settings: what the recording fixes; if it changes, the function is recorded again."""
        key = settings, [values.shape for values in inputs]
        if key != self._key or self._recording is None:
            self._recording = None  # frees the memory of the last recording first
            self._inputs: Sequence[torch.Tensor] = [values.clone() for values in inputs]
            try:
                self._recording = record(lambda: self._function(*self._inputs))
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                reason = str(error).splitlines()[0]
                raise UserError(f"a step cannot be recorded ({reason}); run with --no-cuda_graph") from error
            self._key = key
        for kept, values in zip(self._inputs, inputs, strict=True):
            kept.copy_(values)
        replay, result = self._recording
        replay()
        return result
