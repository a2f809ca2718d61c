"""A function's kernels recorded once as a CUDA graph and started again with one call.

Each of a small model's kernels is done sooner than Python starts the next; a graph starts all of them at once.
"""

from collections.abc import Callable, Sequence

import torch

Replay = Callable[[], object]


def record(function: Callable[[], torch.Tensor]) -> tuple[Replay, torch.Tensor]:
    """Call the function as PyTorch asks for before a recording, record it, and return what starts its kernels again
    and the tensor in which they leave the result."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):  # libraries and autograd make what they keep
            function()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    # Only this thread's calls are watched: the loaders' threads ask for page-locked memory meanwhile.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        result = function()
    return graph.replay, result


class Recorded:
    """A function of tensors that is recorded at the first call with inputs of these shapes, and replayed afterwards.

    It must not wait for the device, and must find all else that it reads where it was when it was recorded. A call
    overwrites the result of the one before.
    """

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        self._function = function
        self._key: object = None

    def __call__(self, settings: object, *inputs: torch.Tensor) -> torch.Tensor:
        """settings: numbers that the recording has fixed; with others the function is recorded again."""
        key = settings, [values.shape for values in inputs]
        if key != self._key:
            self._replay = self._result = None  # the memory of the recording before goes first
            self._inputs: Sequence[torch.Tensor] = [values.clone() for values in inputs]
            self._replay, self._result = record(lambda: self._function(*self._inputs))
            self._key = key
        for kept, values in zip(self._inputs, inputs, strict=True):
            kept.copy_(values)
        self._replay()
        return self._result
