"""The rooms import in one direction only, and nothing that must not be committed is."""

import ast
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# Each may import those to its left.
ROOMS = (
    "utils",
    "models",
    "datasets",
    "preprocessing",
    "evaluation",
    "training",
    "prediction",
)  # each imports to its left
PACKAGES = (*ROOMS, "benchmarks")
TEXTS = (".py", ".ipynb", ".md", ".txt", ".toml", ".json", ".yml", ".yaml")


def modules(room):
    """The files of a room, sub-folders included."""
    return sorted((ROOT / room).rglob("*.py"))


def product_files():
    """All tracked files of Python code that are no tests."""
    listed = subprocess.run(["git", "ls-files", "-z", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and not name.startswith("tests/")]


def imported_modules(path):
    """The dotted names of all modules that a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: import by the full name"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_to_its_left(room):
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    for path in modules(room):
        rooms = {name.split(".")[0] for name in imported_modules(path)} & {*ROOMS, "benchmarks", "tests"}
        assert rooms <= allowed, f"{path.relative_to(ROOT)} imports {rooms - allowed}"


def test_every_folder_of_python_code_is_a_known_room():
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    folders = {name.split("/")[0] for name in listed.split() if "/" in name}
    assert folders <= {*PACKAGES, "tests", "examples", "integrations"}


def test_every_image_is_opened_with_a_list_of_formats():
    """Else the content of a file chooses among all of Pillow's readers, and that of EPS starts Ghostscript."""
    opened = 0
    for path in [path for path in product_files() if "Image" in path.read_text(encoding="utf-8")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Image.open", "PIL.Image.open"):
                opened += 1
                given = {keyword.arg for keyword in node.keywords}
                assert "formats" in given, f"{path.relative_to(ROOT)}:{node.lineno}: formats= is missing"
    assert opened >= 3, "the test finds the calls"


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
    rooms = [path for room in PACKAGES for path in modules(room)]
    scripts = ROOT.glob("SJEDD_*.py")
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in [*rooms, *scripts]]
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
        if path.suffix in TEXTS or name in ("Makefile", ".ci/run"):
            assert not re.search(r"/(?:home|root|work)/\w", path.read_text(encoding="utf-8")), name
