import subprocess
import sys
from contextlib import ExitStack

import pytest

from tests.conftest import ROOT
from utils.locks import claim, hold

OTHER = """
import sys
from pathlib import Path
from utils.locks import claim, hold
path = Path(sys.argv[1])
context = claim(path, sys.argv[2]) if len(sys.argv) == 3 else hold(path, shared=sys.argv[3] == "shared", wait=False)
with context as mine:
    print(mine)
"""


def other_process_gets(path, *arguments):
    command = [sys.executable, "-c", OTHER, str(path), *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip() == "True"


def test_a_claimed_name_is_refused_to_others_until_it_is_given_up(tmp_path):
    path = tmp_path / "lock"
    with claim(path, "a b/ü") as mine:
        assert mine
        assert not other_process_gets(path, "a b/ü")
        assert other_process_gets(path, "another")
    assert other_process_gets(path, "a b/ü")
    assert path.stat().st_size == 0


CASES = [(True, "shared", True), (True, "alone", False), (False, "shared", False)]


@pytest.mark.parametrize(("ours", "theirs", "granted"), CASES)
def test_a_file_is_held_together_or_alone(tmp_path, ours, theirs, granted):
    with ExitStack() as stack:
        assert stack.enter_context(hold(tmp_path / "lock", shared=ours, wait=False))
        assert other_process_gets(tmp_path / "lock", "-", theirs) is granted
    assert other_process_gets(tmp_path / "lock", "-", theirs)
