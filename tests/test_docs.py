"""What the documents say of the repository's own files."""

import re

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-app.txt"])
def test_the_licence_of_every_required_package_is_told(name):
    told = re.findall(r"^\| ([\w.-]+) \| [\d.]+ \| \w[^|]* \|", (ROOT / "docs/licences.md").read_text(), re.MULTILINE)
    required = re.findall(r"^\w[\w.-]*", (ROOT / name).read_text(), re.MULTILINE)
    assert required
    assert set(required) <= set(told)
