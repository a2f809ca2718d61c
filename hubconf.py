"""The door for other programs: torch.hub.load(FOLDER or "owner/name", "sjedd", checkpoint=FILE) gives a detector.

Our packages have common names (datasets, models, utils) that would hide the caller's. So they are imported below a
private package, ``sjedd_<hash of this folder>``: in its modules ``import datasets``, also inside a function, means
``sjedd_<hash>.datasets``; everywhere else it means what it meant before. docs/prediction.md names the limits.
"""

import builtins
import contextlib
import hashlib
import importlib
import os
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from typing import Any

# torch.hub names those that are not installed.
dependencies = ["torch", "torchvision", "open_clip", "numpy", "scipy", "cv2", "PIL", "pillow_heif", "av", "tqdm"]
dependencies += ["filelock", "imageio_ffmpeg", "safetensors", "facenet_pytorch"]

_ROOT = Path(__file__).resolve().parent
_ROOMS = {path.parent.name for path in _ROOT.glob("*/__init__.py")}
_PACKAGE = f"sjedd_{hashlib.sha256(os.fsencode(_ROOT)).hexdigest()[:12]}"


def sjedd(checkpoint: str | os.PathLike, device: Any = None, **options: Any) -> Any:
    """Load a detector.

    Args:
        checkpoint: A checkpoint of ours or a published one, or a folder that SJEDD_export.py wrote.
        device: "cpu", "cuda", "cuda:1" or a torch.device (default: CUDA if there is some).
        options: Those of SJEDD_predict.py by name, such as train_dataset="ffsc", n_frames=16, band=(0.3, 0.7).

    Returns:
        prediction.python_api.SJEDD, with ``predict``, ``score``, ``tree`` and ``crops``.

    Raises ValueError for a bad checkpoint, device or option.
    """
    with _without_our_folder():
        api = _private_package("prediction.python_api")
        return api.load(checkpoint, device, options)


def _private_package(name: str) -> types.ModuleType:
    """Import one of our modules below the private package."""
    if _PACKAGE not in sys.modules:
        package = types.ModuleType(_PACKAGE)
        package.__path__ = [str(_ROOT)]
        sys.modules[_PACKAGE] = package
        sys.meta_path.insert(0, _Finder())
    return importlib.import_module(f"{_PACKAGE}.{name}")


class _Finder(MetaPathFinder):
    """Finds the modules of the private package."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> ModuleSpec | None:
        if not name.startswith(f"{_PACKAGE}."):
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    """Gives a module an ``__import__`` of its own; Python's import statement uses that of the module's builtins."""

    def exec_module(self, module: types.ModuleType) -> None:
        vars(module)["__builtins__"] = vars(builtins) | {"__import__": _import}
        super().exec_module(module)


def _import(
    name: str,
    namespace: Mapping[str, object] | None = None,
    local: Mapping[str, object] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> types.ModuleType:
    """``builtins.__import__``, with our packages below the private one."""
    room = name.partition(".")[0]
    if level or room not in _ROOMS:
        return builtins.__import__(name, namespace, local, fromlist or (), level)
    module = builtins.__import__(f"{_PACKAGE}.{name}", namespace, local, fromlist or (), 0)
    return module if fromlist else sys.modules[f"{_PACKAGE}.{room}"]


@contextlib.contextmanager
def _without_our_folder() -> Iterator[None]:
    """Take this folder, which torch.hub puts first, out of sys.path: libraries too look for a package ``datasets``."""
    before = sys.path.copy()
    sys.path[:] = [entry for entry in before if not entry or Path(entry).resolve() != _ROOT]
    try:
        yield
    finally:
        sys.path[:] = before
