"""The folder of a training run: <output>/<name>/<tag>."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from utils.cli import UserError
from utils.distributed import on_main
from utils.files import atomic_path
from utils.locks import exclusive_folder

_FILES = (
    *("args.json", "log.txt", "metrics.jsonl"),
    *("ckpt_last.pth", "ckpt_best.pth", "ckpt_best_ema.pth", "ckpt_epoch[0-9][0-9][0-9].pth"),
)


@contextlib.contextmanager
def run_folder(folder: Path, resume: str | None) -> Iterator[Path]:
    """Make the folder and keep other runs out of it. All processes enter it.

    resume: the checkpoint that the run continues from, if any. If it is in another folder, the best checkpoints
    and metrics.jsonl are copied from there.

    Raises UserError if the folder holds another run, another run works in it, or it cannot be written.
    """
    with contextlib.ExitStack() as held:
        yield on_main(lambda: held.enter_context(_prepared(folder, resume)))


@contextlib.contextmanager
def _prepared(folder: Path, resume: str | None) -> Iterator[Path]:
    source = Path(resume).resolve().parent if resume else None
    continued = source == folder.resolve()
    with exclusive_folder(folder, _FILES, adopt=continued):
        if not continued:
            if (folder / "ckpt_last.pth").exists():
                raise UserError(f"{folder} holds a run already; --resume its ckpt_last.pth or give another --tag")
            for name in ("ckpt_best.pth", "ckpt_best_ema.pth", "metrics.jsonl"):
                if source and (source / name).is_file():
                    with atomic_path(folder / name) as temporary:
                        shutil.copyfile(source / name, temporary)
        yield folder
