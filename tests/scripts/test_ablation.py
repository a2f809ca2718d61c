"""The ablation table, on a tiny list."""

import shutil

import pytest

from benchmarks.ablation import VARIANTS, main
from training.options import get_args_parser


def test_table_has_a_row_for_each_variant_that_was_asked_for(crop_lists, tmp_path, capsys):
    shutil.copy(crop_lists[1], tmp_path / "test.txt")
    names = ["equal", "binary only"]
    options = f"--lists {tmp_path} --output {tmp_path}/out --num_epoch 1 --every 1 --batch_size 8"
    assert main([*options.split(), "--variants", *names]) == 0
    table = (tmp_path / "out" / "table.md").read_text()
    assert capsys.readouterr().out.endswith(table)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert [row[0] for row in rows] == ["variant", "---", *names]
    assert all(0 <= float(cell) <= 100 for row in rows[2:] for cell in row[1:5])
    assert rows[3][5] == "-", "the binary variant has no nodes"


@pytest.mark.parametrize("options", VARIANTS.values(), ids=list(VARIANTS))
def test_variants_are_options_of_the_training_script(options):
    get_args_parser().parse_args(options.split())


def test_missing_lists_are_one_clear_line(tmp_path, capsys):
    assert main(["--lists", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert "make demo writes it" in capsys.readouterr().err
