"""The rooms import in one direction only, and nothing that must not be committed is."""

import ast
import re
import subprocess
import sys

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


# The first round loads the packages, the second one our modules alone, without what Windows does not have.
IMPORTS = """
import importlib, os, signal, sys
names = sys.argv[1:]
for lacking in (False, True):
    for name in names:
        sys.modules.pop(name, None)
    if lacking:
        for module in ("fcntl", "grp", "pwd", "pty", "resource", "syslog", "termios", "tty"):
            sys.modules[module] = None
        for name in ("fork", "geteuid", "getuid", "killpg", "mkfifo", "register_at_fork", "sched_getaffinity"):
            delattr(os, name)
        for name in ("SIGALRM", "SIGHUP", "SIGKILL", "SIGXFSZ", "pthread_kill", "pthread_sigmask", "sigwait"):
            delattr(signal, name)
    for name in names:
        importlib.import_module(name)
print(len(names), "imported")
"""


def test_modules_load_where_linux_alone_has_nothing_to_give():
    rooms = [path for room in (*ROOMS, "benchmarks") for path in sorted((ROOT / room).glob("*.py"))]
    scripts = [path for path in ROOT.glob("SJEDD_*.py") if path.name != "SJEDD_app.py"]  # the page makes its folder
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in rooms + scripts]
    names = [name.removesuffix(".__init__") for name in names]
    done = subprocess.run([sys.executable, "-c", IMPORTS, *names], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == f"{len(names)} imported\n", done.stderr


def test_tracked_files_are_small_and_name_no_machine():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in listed.decode().split("\0"):
        path = ROOT / name
        if not name or not path.is_file():
            continue
        assert path.stat().st_size < 2_000_000, name
        if path.suffix in (".py", ".md", ".txt", ".toml", ".json") or name in ("Makefile", ".ci/run"):
            assert not re.search(r"/(?:home|root|work)/\w", path.read_text(encoding="utf-8")), name
