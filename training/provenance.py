"""What made a result: the packages' versions, the revision of this code, and a fingerprint of the data."""

import hashlib
import platform
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

_PACKAGES = ("torch", "torchvision", "open_clip_torch", "numpy", "pillow", "opencv-python-headless", "opencv-python")


def versions() -> dict[str, str]:
    """Versions of Python and of those installed packages that affect numbers; name -> version."""
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


def fingerprint(items: Iterable[str]) -> str:
    """SHA-256 of a sequence of strings; their order counts."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(item.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()
