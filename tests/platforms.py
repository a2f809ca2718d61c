"""Marks of tests for what other systems do not have."""

import os
import sys

import pytest

posix_only = pytest.mark.skipif(os.name != "posix", reason="signals, process groups and named pipes of POSIX")
linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full and /proc, which Linux has")
