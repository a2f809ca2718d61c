"""Check the CUDA path on one GPU, in at most 15 minutes: right, fast, and by how much.

Each check of benchmarks/cuda_checks.py runs in its own process; when one fails, crashes or takes too long, the table
says so and the others go on. Prints the table and writes gpu_check.json and gpu_check.md (a section for
benchmarks/RESULTS.md) to --output, and what a check printed to CHECK.log there. Needs no download and no data set.
--device cpu --quick runs the same code small.
"""

import datetime
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

from utils.cli import ArgumentParser, UserError, positive_int, script
from utils.files import output_dir, write_json, write_text

# The functions check_NAME of cuda_checks.py, which is not imported here: it needs all PACKAGES.
NAMES = ("parity", "float16", "deterministic", "compile", "graph", "speed", "reading", "augmentation", "detection",
         "reductions")  # fmt: skip
PACKAGES = (
    "torch", "torchvision", "open_clip", "ftfy", "numpy", "sklearn", "scipy", "cv2", "PIL", "tqdm", "filelock",
    "tensorboard", "matplotlib", "skimage", "imageio_ffmpeg", "facenet_pytorch",
)  # fmt: skip
STATES = {True: "pass", False: "FAIL", None: ""}


def run_check(name: str, device: str, quick: bool, seconds: float, log: Path) -> list[dict]:
    """The figures of one check; the last one says why it did not finish, if so. What it printed goes to ``log``."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures"
        command = [sys.executable, str(ROOT / "benchmarks" / "cuda_checks.py"), name, "--device", device]
        command += ["--output", str(figures), *(["--quick"] if quick else [])]
        with (
            log.open("w", encoding="utf-8") as errors,
            subprocess.Popen(command, start_new_session=True, stdout=errors, stderr=subprocess.STDOUT) as process,
        ):
            try:
                process.wait(seconds)
                lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""]
                reason = f"exit code {process.returncode}: {lines[-1][:200]}" if process.returncode else ""
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # the trainings that the check has started too
                reason = f"not finished after {seconds:.0f} s"
        lines = figures.read_text(encoding="utf-8").splitlines() if figures.is_file() else []
    found = [{"check": name} | json.loads(line) for line in lines]
    found.append({"check": name, "what": "the check took", "value": f"{time.perf_counter() - started:.0f} s", "bar": "",
                  "passed": None})  # fmt: skip
    if reason:
        found.append({"check": name, "what": "the check itself", "value": reason, "bar": "its end", "passed": False})
    return found


def machine(device: str) -> str:
    """What the checks run on, in words. Raises UserError if there is no such device."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("no CUDA device was found; --device cpu --quick runs the same code small, without one")
    what = torch.cuda.get_device_name(0) if device == "cuda" else "a CPU"
    return f"{what}, torch {torch.__version__}, {datetime.date.today().isoformat()}"


def markdown(where: str, figures: Sequence[dict], seconds: float) -> str:
    """A section for benchmarks/RESULTS.md."""
    rows = ["| check | of what | figure | bar | |", "|---|---|---|---|---|"]
    rows += [f"| {f['check']} | {f['what'].strip()} | {f['value']} | {f['bar']} | {STATES[f['passed']]} |"
             for f in figures]  # fmt: skip
    return f"## GPU check\n\n{where}; {seconds:.0f} s\n\n" + "\n".join(row.replace("\n", " ") for row in rows) + "\n"


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run the checks; see --help. Exit code 2 when one of them fails."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="what is checked")
    parser.add_argument("--quick", action="store_true", help="small models, few steps: for the test of this script")
    parser.add_argument(
        "--only", nargs="+", choices=NAMES, default=NAMES, metavar="CHECK", help="run only these checks"
    )
    parser.add_argument("--limit", type=positive_int, default=240, metavar="S", help="seconds for one check")
    parser.add_argument("--minutes", type=positive_int, default=15, help="minutes for all checks")
    parser.add_argument("--output", type=Path, default=Path("output/gpu_check"), help="folder for the results")
    args = parser.parse_args(argv)
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        print(f"not installed: {', '.join(missing)}; the checks that need them fail")
    folder, where, started, figures = output_dir(args.output), machine(args.device), time.perf_counter(), []
    print(where, flush=True)
    for name in args.only:
        left = max(60 * args.minutes - (time.perf_counter() - started), 0)
        for figure in run_check(name, args.device, args.quick, min(args.limit, left), folder / f"{name}.log"):
            figures.append(figure)
            told = f"{figure['value']:32} {figure['bar']:24} {STATES[figure['passed']]}"
            print(f"{name:14} {figure['what']:58} {told}", flush=True)
        # After each check, so that nothing is lost if the machine goes away.
        seconds = time.perf_counter() - started
        write_json(folder / "gpu_check.json", {"machine": where, "seconds": round(seconds, 1), "figures": figures})
        write_text(folder / "gpu_check.md", markdown(where, figures, seconds))
    if failed := sum(figure["passed"] is False for figure in figures):
        raise UserError(f"{failed} figures miss their bars; see {folder / 'gpu_check.md'}")


if __name__ == "__main__":
    sys.exit(main())
