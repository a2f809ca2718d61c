"""The account of the attacks: a row for each class of them, printed as a table when they are over."""

from collections import Counter

import pytest

_ROWS: list[str] = []


@pytest.fixture
def account():
    """account(attack, outcomes, megabytes, seconds): outcomes are words, one for each file that was tried."""

    def add(attack, outcomes, megabytes=None, seconds=None):
        told = "; ".join(f"{number} {words}" for words, number in Counter(outcomes).most_common(8))
        figures = [f"{megabytes:.0f} MB" if megabytes else "", f"{seconds:.1f} s" if seconds else ""]
        _ROWS.append(f"| {attack} | {len(outcomes)} | {told} | {figures[0]} | {figures[1]} |")

    return add


def pytest_terminal_summary(terminalreporter):
    if _ROWS:
        terminalreporter.write_line("| attack | files | what happened | peak memory | time |\n|---|---|---|---|---|")
        terminalreporter.write_line("\n".join(_ROWS))
