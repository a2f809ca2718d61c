"""The ablation table, on a tiny list."""

import shutil

import pytest

import SJEDD_train_FFSC
from benchmarks.ablation import VARIANTS, main
from models.checkpoint import load_model
from models.label_tree import FFPP
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


def test_any_lists_model_and_prompts_are_taken(crop_lists, tmp_path, capsys, monkeypatch):
    """A list with relative paths beside its images, and one more variant for each file of prompts."""
    images = tmp_path / "some where"
    images.mkdir()
    for name, source in (("train", crop_lists[0]), ("val", crop_lists[1]), ("test", crop_lists[1])):
        lines = [line.rpartition(" ") for line in source.read_text().splitlines()]
        for i, (path, _, _) in enumerate(lines):
            shutil.copy(path, images / f"{name}{i}.png")
        (images / f"{name}.txt").write_text("".join(f"{name}{i}.png {code}\n" for i, (_, _, code) in enumerate(lines)))
    (tmp_path / "short.json").write_text('{"root": "{}", "global": "{} altered", "local": "{} altered"}')
    before = sorted(images.iterdir())
    options = ["--lists", str(images), "--output", str(tmp_path / "out"), "--prompts", str(tmp_path / "short.json")]
    options += ["--num_epoch", "1", "--batch_size", "8", "--VM", "demo", "--variants", "no global level"]
    assert main(options) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in printed[-2:]] == ["no global level", "prompts short"]
    assert load_model(tmp_path / "out/train/prompts-short/ckpt_last.pth").tree.prompts[1] == "expression altered"
    assert load_model(tmp_path / "out/train/no-global-level/ckpt_last.pth").tree is FFPP.without["global"]
    assert sorted(images.iterdir()) == before, "nothing is written beside the lists"


def test_the_model_and_the_learning_rate_reach_the_training(tmp_path, monkeypatch):
    def train(argv):
        seen.append(argv)
        return 2

    seen = []
    monkeypatch.setattr(SJEDD_train_FFSC, "main", train)
    for name in ("train", "val", "test"):
        (tmp_path / f"{name}.txt").write_text("a.png 000000000000\n")
    options = ["--lists", str(tmp_path), "--output", str(tmp_path / "out"), "--tree", "ffsc", "--variants", "equal"]
    options += ["--every", "1"]
    assert main([*options, "--VM", "ViT-L/14"]) == 2
    assert main([*options, "--initial_lr", "0.1"]) == 2
    assert seen[0][seen[0].index("--VM") + 1] == "ViT-L/14" and "--initial_lr" not in seen[0]
    assert seen[1][seen[1].index("--initial_lr") + 1] == "0.1"
    assert seen[1][seen[1].index("--txt_path_train") + 1] == str(tmp_path / "train.txt"), "the list itself"
