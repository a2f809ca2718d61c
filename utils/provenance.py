"""What made a result: versions of the packages and the revision of this code."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path

_PACKAGES = ("torch", "torchvision", "open_clip_torch", "numpy", "pillow", "opencv-python-headless", "opencv-python")


def versions() -> dict[str, str]:
    """Python's version and those of the packages that decide numbers, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_revision() -> str | None:
    """The commit of this code, with "-dirty" when files differ from it; None outside a git clone or without git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None
