"""Facts that stand in two files of the repository are the same in both."""

import re

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-app.txt", "requirements-export.txt"])
def test_the_licence_of_every_required_package_is_told(name):
    told = re.findall(r"^\| ([\w.-]+) \| [\d.]+ \| \w[^|]* \|", (ROOT / "docs/licences.md").read_text(), re.MULTILINE)
    required = re.findall(r"^\w[\w.-]*", (ROOT / name).read_text(), re.MULTILINE)
    assert required
    assert set(required) <= set(told)


def requirements(name):
    """The packages named in a file of requirements, without those of the files that it includes."""
    lines = (line.strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines())
    return {Requirement(line) for line in lines if line and not line.startswith(("#", "-r"))}


def test_pyproject_names_the_packages_of_the_requirements_files():
    tomllib = pytest.importorskip("tomllib")  # of Python 3.11
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: set(map(Requirement, lines)) for name, lines in project["optional-dependencies"].items()}
    assert set(map(Requirement, project["dependencies"])) == requirements("requirements.txt")
    assert extras["app"] == requirements("requirements-app.txt")
    assert extras["export"] == requirements("requirements-export.txt")
    assert extras["dev"] == requirements("requirements-dev.txt") | {Requirement("sjedd[app,export]")}
