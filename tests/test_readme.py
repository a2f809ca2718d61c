"""README is short and holds the commands that users know; links in documents lead somewhere."""

import re

import pytest

from tests.conftest import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), ROOT / "pretrained/README.md"]
DOCUMENTS += [ROOT / "preprocessing/README.md", ROOT / "benchmarks/RESULTS.md"]

# The commands that users of the paper's repository know, word for word.
TEST_COMMAND = (
    "CUDA_VISIBLE_DEVICES=5 python SJEDD_test.py --auc --test_log True --dataset [e.g., CDF, FSh, Deeper, DFDC, FFSC] "
    "--batch_size 1 --n_frames 64 --resume [path to checkpoints, e.g., ./pretrained/ckpt_best.pth]"
)
TRAINING_COMMAND = r"""
CUDA_VISIBLE_DEVICES=4 python SJEDD_train_FFpp.py --name lr6e-7_lambdaInit_1.0_lambdaLr1e-3_aug0.3_bz32 --aug --aug_probs 0.3 \
--batch_size 32 --num_epoch 20 --output ./output/train_process/autoL-FFppHalf-SO-unnorm-noAnton \
--txt_path_train [path to train list txt file] \
--txt_path_val [path to val list txt file] \
--weighting_method auto-l --task binary \
--weight autol --gpu 0 --autol_lr 1e-3 --autol_init 1.0 --initial_lr 6e-7
"""  # noqa: E501


def test_the_readme_is_short():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    assert len(text.split()) <= 1800


@pytest.mark.parametrize("command", [TEST_COMMAND, TRAINING_COMMAND], ids=["test", "training"])
def test_the_paper_repositorys_commands_stand_in_the_readme(command):
    assert f"```\n{command.strip()}\n```" in (ROOT / "README.md").read_text(encoding="utf-8")


def anchors(document):
    """The anchors that GitHub gives to the headings of a document."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_to_a_file_and_a_heading(document):
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
    for link in (link for link in links if not re.match(r"https?://", link)):
        name, _, heading = link.partition("#")
        target = document.parent / name if name else document
        assert target.exists(), f"{document.name}: {link}"
        assert not heading or heading in anchors(target), f"{document.name}: {link}"


def test_the_readme_picture_is_small():
    assert (ROOT / "docs/images/overview.png").stat().st_size < 300_000


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_code_files_and_folders_exist(document):
    folders = "utils|models|datasets|preprocessing|evaluation|training|prediction|benchmarks|examples|tests|docs"
    named = re.findall(rf"`((?:{folders})/[\w/]*(?:\.\w+)?|SJEDD_\w+\.py)`", document.read_text(encoding="utf-8"))
    assert not [name for name in named if not (ROOT / name).exists()]
