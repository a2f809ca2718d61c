import re

import torch

from training import provenance


def test_versions_are_those_installed():
    found = provenance.versions()
    assert found["torch"] == torch.__version__.partition("+")[0] or found["torch"] == torch.__version__
    assert {"python", "numpy", "open_clip_torch"} <= found.keys()


def test_revision_is_a_commit_or_nothing(monkeypatch):
    revision = provenance.git_revision()
    assert revision is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", revision)
    monkeypatch.setenv("PATH", "")
    assert provenance.git_revision() is None


def test_fingerprint_tells_order_and_borders_apart():
    assert len({provenance.fingerprint(items) for items in (["a", "b"], ["b", "a"], ["ab"], ["a", "b", ""])}) == 4
