"""Tables for a terminal."""

from collections.abc import Sequence

from utils.terminal import printable


def text_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Lines of a table. None is shown as a dash; columns with only numbers and dashes are aligned to the right."""
    cells = [["-" if cell is None else printable(str(cell)) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [all(map(_is_number, column[1:])) for column in zip(*cells, strict=True)]
    lines = []
    for line in cells:
        aligned = zip(line, widths, right, strict=True)
        padded = [cell.rjust(width) if to_right else cell.ljust(width) for cell, width, to_right in aligned]
        lines.append("  ".join(padded).rstrip())
    return lines


def _is_number(cell: str) -> bool:
    return cell.removeprefix("-")[:1].isdigit() or cell in ("-", "n/a", "undefined")
