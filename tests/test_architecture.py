"""The rooms import in one direction only, and nothing that must not be committed is."""

import ast
import re
import subprocess

import pytest

from tests.conftest import ROOT

ROOMS = ("models", "datasets", "preprocessing", "utils")
SCRIPTS = {"extract_faces.py", "expand_FFpp.py", "make_lists.py", "make_demo_videos.py"}


def imported_rooms(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.split(".")[0] for name in names} & set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_one_way(room):
    allowed = {room, "utils"}
    for path in sorted((ROOT / room).glob("*.py")):
        if not (room == "preprocessing" and path.name in SCRIPTS):
            assert imported_rooms(path) <= allowed, f"{path.name} imports {imported_rooms(path) - allowed}"


def test_tracked_files_are_small_and_name_no_machine():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in listed.decode().split("\0"):
        path = ROOT / name
        if not name or not path.is_file():
            continue
        assert path.stat().st_size < 2_000_000, name
        if path.suffix in (".py", ".md", ".txt", ".toml", ".json") or name in ("Makefile", ".ci/run"):
            assert not re.search(r"/(?:home|root|work)/\w", path.read_text(encoding="utf-8")), name
