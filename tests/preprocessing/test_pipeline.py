"""The chain of `make demo` in small: crops and expansion -> lists -> training -> test on FF++ -> summary."""

import json
from collections import Counter

import SJEDD_report
import SJEDD_test
import SJEDD_train_FFpp
from preprocessing import make_lists


def test_crops_to_summary(demo, tmp_path, capsys):
    lists, out = tmp_path / "lists", tmp_path / "out"
    assert make_lists.main(["--data_root", str(demo), "--expansion", "--output", str(lists)]) == 0
    train = "--VM demo --num_epoch 1 --batch_size 8 --num_workers 0 --initial_lr 1e-3 --lambda_every 2 "
    train += f"--output {out} --tag t"
    paths = ["--txt_path_train", str(lists / "train.txt"), "--txt_path_val", str(lists / "val.txt")]
    assert SJEDD_train_FFpp.main([*train.split(), *paths]) == 0
    test = f"--auc --dataset FFpp --data_root {demo} --n_frames 2 --num_workers 0 --output {out}"
    assert SJEDD_test.main([*test.split(), "--resume", str(out / "SJEDD" / "t" / "ckpt_best.pth")]) == 0
    folder = out / "SJEDD_test" / "FFpp"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["videos"], metrics["frames"], metrics["coverage"]) == (10, 20, 1.0)
    assert metrics["crops"]["detector"] == "mtcnn"
    assert metrics["crops"]["scale"] == 1.3
    assert SJEDD_report.main([str(folder), "--summary"]) == 0
    assert (folder / "summary.png").is_file()


def test_control_list_keeps_paths_and_codes_but_not_their_pairs(demo, tmp_path):
    common = ["--data_root", str(demo), "--expansion"]
    assert make_lists.main([*common, "--output", str(tmp_path / "a")]) == 0
    assert make_lists.main([*common, "--output", str(tmp_path / "b"), "--shuffle_codes", "0"]) == 0
    pairs = [[line.rsplit(" ", 1) for line in (tmp_path / d / "train.txt").read_text().splitlines()] for d in "ab"]
    assert [path for path, _ in pairs[0]] == [path for path, _ in pairs[1]]
    assert Counter(code for _, code in pairs[0]) == Counter(code for _, code in pairs[1])
    assert pairs[0] != pairs[1]
    assert (tmp_path / "a" / "val.txt").read_bytes() == (tmp_path / "b" / "val.txt").read_bytes()
