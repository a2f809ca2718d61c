"""A run of SJEDD_export.py: read a checkpoint, write the folder."""

import argparse
from pathlib import Path

from evaluation.calibration import read_calibration
from models.checkpoint import build_model, save_weights
from models.checkpoint_file import WEIGHTS_FILE, read_checkpoint
from models.label_tree import TREES
from prediction.export.config import config_of, portable
from prediction.export.model_card import model_card
from utils.cli import UserError
from utils.files import file_sha256, write_json, write_text
from utils.locks import exclusive_folder

ONNX_FILE = "model.onnx"


def export(args: argparse.Namespace) -> None:
    """Export with the options of SJEDD_export.py.

    Raises UserError for a bad checkpoint or calibration, missing packages, or a folder that is not empty.
    """
    output = Path(args.output)
    if output.is_dir() and any(output.iterdir()):
        raise UserError(f"{output} is not empty, and nothing in it is replaced; name a new folder")
    calibration = read_calibration(args.calibration) if args.calibration else None
    content = read_checkpoint(args.resume)
    model = build_model(content, args.resume, TREES[args.train_dataset] if args.train_dataset else None)
    config = config_of(model, content, args.resume) | {"calibration": calibration}
    with exclusive_folder(output) as folder:
        if "safetensors" in args.format:
            save_weights(folder / WEIGHTS_FILE, model, **portable(content, args.resume))
        if "onnx" in args.format:
            from prediction.export.onnx_model import write_onnx

            difference = write_onnx(folder / ONNX_FILE, model)
            print(f"{folder / ONNX_FILE} differs from PyTorch by at most {difference:.1e} in P(fake) on random images")
        if calibration:
            write_json(folder / "calibration.json", calibration)
        names = [name for name in (WEIGHTS_FILE, ONNX_FILE) if (folder / name).is_file()]
        config["files"] = {name: file_sha256(folder / name) for name in names}
        write_text(folder / "README.md", model_card(config))
        write_json(folder / "config.json", config)
    print(f"{output}: {', '.join([*names, 'config.json', 'README.md'])}; choose a licence in README.md")
