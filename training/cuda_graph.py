"""Record the kernels of a function as a CUDA graph and replay them with one call.

A small model's kernels are faster than Python starts the next one; a graph starts all of them at once.
"""

from collections.abc import Callable, Sequence

import torch

Replay = Callable[[], object]


def record(function: Callable[[], torch.Tensor]) -> tuple[Replay, torch.Tensor]:
    """Record a function. Returns what replays it, and the tensor that holds the result after each replay."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):  # warm-up, which PyTorch requires: libraries and autograd allocate what they keep
            function()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    # thread_local: the loaders' threads allocate page-locked memory meanwhile.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        result = function()
    return graph.replay, result


class Recorded:
    """A function of tensors, recorded at the first call with given input shapes and then replayed.

    It must not wait for the device. Whatever else it reads must stay at its address. A call overwrites the result of
    the last one.
    """

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        self._function = function
        self._key: object = None
        self._recording: tuple[Replay, torch.Tensor] | None = None

    def __call__(self, settings: object, *inputs: torch.Tensor) -> torch.Tensor:
        """settings: numbers fixed in the recording; when they change, the function is recorded again."""
        key = settings, [values.shape for values in inputs]
        if key != self._key or self._recording is None:
            self._recording = None  # frees the last recording's memory first
            self._inputs: Sequence[torch.Tensor] = [values.clone() for values in inputs]
            self._recording = record(lambda: self._function(*self._inputs))
            self._key = key
        for kept, values in zip(self._inputs, inputs, strict=True):
            kept.copy_(values)
        replay, result = self._recording
        replay()
        return result
