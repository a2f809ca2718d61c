"""What made a result: package versions, revision of the code, fingerprint of the data."""

import contextlib
import hashlib
import platform
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

_PACKAGES = ("torch", "torchvision", "open_clip_torch", "numpy", "pillow", "opencv-python-headless", "opencv-python")


def versions() -> dict[str, str]:
    """Name -> version of Python and the installed packages that affect numbers."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def git_revision() -> str | None:
    """The commit of this code, with "-dirty" if files differ from it; None without git or outside a clone."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None


def fingerprint(items: Iterable[str]) -> str:
    """SHA-256 of a sequence of strings."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(item.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()
