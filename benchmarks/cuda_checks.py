"""The checks of benchmarks/gpu_check.py, each in its own process: CHECK --device cuda [--quick] --output FILE.

The check NAME is the function check_NAME. It yields figures; each is written to FILE as a line of JSON at once. With
--device cpu --quick the same code runs small, so that it can be tested without a GPU.
"""

import copy
import functools
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_check import NAMES
from benchmarks.load import write_crops
from benchmarks.train_step import median_times, random_batch
from datasets.augmentation import KINDS, QUALITIES, STRENGTHS, Draw, draw_augmentation
from datasets.device_augmentation import augmented
from datasets.raw_frames import RawFrames
from datasets.readers.ffpp import METHOD_CODES, compression_dir
from datasets.transforms import grey_places, read_image
from models.checkpoint import save_checkpoint
from models.checkpoint_file import read_checkpoint
from models.joint_embedding import JointEmbedding, architecture
from models.label_tree import FFPP
from training.model_setup import compile_towers
from training.trainer import StepResult, Trainer, TrainerSettings
from utils import distributed
from utils.cli import ArgumentParser, UserError, script
from utils.cpu import available_cores
from utils.devices import set_tf32

# A small CLIP of OpenAI's layout, for --quick.
TINY = {
    "embed_dim": 64,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
}
GOAL_MS = 20  # a bi-level step of ViT-B/32, batch 32, bfloat16, on an H100


class Figure(NamedTuple):
    """A result: what was measured, its value and the bar it must meet, in words. Without a bar passed is None."""

    what: str
    value: str
    bar: str = ""
    passed: bool | None = None


class Bench(NamedTuple):
    """Where the checks run. quick: small models, few steps."""

    device: torch.device
    quick: bool

    @property
    def on_cuda(self) -> bool:
        """Whether a GPU is measured."""
        return self.device.type == "cuda"


@functools.cache
def model_of(name: str) -> JointEmbedding:
    """The model ``name`` (of MODEL_NAMES, or tiny) with seeded random weights, on the CPU."""
    torch.manual_seed(0)
    return JointEmbedding(TINY if name == "tiny" else architecture(name), FFPP)


def trainer_of(name: str, device: torch.device, lr: float = 6e-7, **settings: object) -> Trainer:
    """A trainer of a copy of ``model_of(name)``."""
    model = copy.deepcopy(model_of(name)).to(device)
    trainer = Trainer(model, TrainerSettings(weight="autol", **settings))
    trainer.set_learning_rate(lr)
    return trainer


def batches_of(trainer: Trainer, batch_size: int, n: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """``n`` seeded random batches on the trainer's device."""
    generator = torch.Generator().manual_seed(0)
    device = next(trainer.model.parameters()).device
    made = [random_batch(batch_size, trainer.model.image_size, generator) for _ in range(n)]
    return [tuple(tensor.to(device) for tensor in batch) for batch in made]


def steps_of(trainer: Trainer, batch_size: int, n: int) -> Iterator[StepResult]:
    """Make ``n`` bi-level steps on at most five pairs of batches, in turn."""
    batches = batches_of(trainer, batch_size, 2 * min(n, 5))
    for i in range(n):
        yield trainer.step(batches[2 * i % len(batches)], batches[2 * i % len(batches) + 1], i)


def largest_difference(a: Sequence[StepResult], b: Sequence[StepResult], what: str) -> float:
    """Largest relative difference of ``what`` (task_losses or weights) over the steps."""
    ours, theirs = (np.array([getattr(step, what) for step in steps]) for steps in (a, b))
    return float((np.abs(ours - theirs) / np.abs(theirs)).max())


def check_parity(bench: Bench) -> Iterator[Figure]:
    """The device's steps against a CPU's, and bfloat16 against float32."""
    set_tf32(False)
    models = (("tiny", 3, 6e-7), ("demo", 2, 1e-4)) if bench.quick else (("demo", 20, 1e-4), ("ViT-B/32", 5, 6e-7))
    for name, n, lr in models:
        runs = {
            "cpu": list(steps_of(trainer_of(name, torch.device("cpu"), lr), 8, n)),
            "float32": list(steps_of(trainer_of(name, bench.device, lr), 8, n)),
            "bfloat16": list(steps_of(trainer_of(name, bench.device, lr, precision="bfloat16"), 8, n)),
        }
        for what in ("task_losses", "weights"):
            difference = largest_difference(runs["float32"], runs["cpu"], what)
            told = f"{name}, {n} steps, {what}: {bench.device.type} against cpu"
            yield Figure(told, f"{difference:.1e}", "relative 1e-4", difference < 1e-4)
        # From equal weights, which are those of the first step; after it rounding adds up on every device.
        for told, chosen in (("first step", slice(1)), (f"{n} steps", slice(n))):
            rounded, exact = runs["bfloat16"][chosen], runs["float32"][chosen]
            bars = ("2%", "all") if chosen == slice(1) else ("", "")
            difference = largest_difference(rounded, exact, "task_losses")
            passed = difference < 0.02 if bars[0] else None
            yield Figure(f"{name}, {told}, losses: bfloat16 against float32", f"{difference:.1e}", bars[0], passed)
            signs = [np.sign([step.hypergradient for step in steps]) for steps in (rounded, exact)]
            agree = float((signs[0] == signs[1]).mean())
            passed = agree == 1 if bars[1] else None
            yield Figure(f"{name}, {told}, signs of the hypergradients", f"{100 * agree:.0f}%", bars[1], passed)


def check_float16(bench: Bench) -> Iterator[Figure]:
    """float16 from a loss scale that overflows: steps are skipped and change nothing, then it trains."""
    trainer = trainer_of("tiny" if bench.quick else "ViT-B/32", bench.device, precision="float16")
    trainer.loss_scale.value = 2.0**40

    def state() -> list[torch.Tensor]:
        kept = trainer.state_dict()
        moments = [tensor for values in kept["optimizer"]["state"].values() for tensor in values.values()]
        return copy.deepcopy([*trainer.model.state_dict().values(), *moments, torch.tensor(trainer.weights)])

    first, second = batches_of(trainer, 8, 2)
    before, skipped, unchanged = state(), 0, True
    for i in range(60):
        if not trainer.step(first, second, i).skipped:
            break
        skipped += 1
        after = state()
        unchanged &= len(after) == len(before) and all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
    yield Figure("steps skipped from a loss scale of 2^40", str(skipped), "at least 1, at most 58", 0 < skipped < 59)
    yield Figure("what skipped steps change", "nothing" if unchanged else "something", "nothing", unchanged)
    rest = [trainer.step(first, second, i) for i in range(skipped + 1, 60)]
    trained = [step for step in rest if not step.skipped]
    falls = len(trained) > 1 and sum(trained[-1].task_losses) < sum(trained[0].task_losses)
    told = f"{len(trained)} of {len(rest)}, loss {'falls' if falls else 'does not fall'}"
    yield Figure(
        "steps that train after them", told, "nearly all, loss falls", falls and len(trained) >= 0.9 * len(rest)
    )


def check_deterministic(bench: Bench) -> Iterator[Figure]:
    """--deterministic: two runs, a run killed and resumed, and one resumed from a machine with 8 GPUs."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        save_checkpoint(folder / "init.pth", trainer_of("tiny" if bench.quick else "ViT-B/16", bench.device).model)
        start = training_arguments(folder)
        finish(*[training_process(bench, *start, "--tag", tag) for tag in ("a", "b")])
        last = {tag: folder / "x" / tag / "ckpt_last.pth" for tag in ("a", "b", "killed", "eight")}
        yield same_bits("weights of two runs", last["a"], last["b"])
        kill_in_the_middle(bench, last["killed"], *start, "--save_minutes", "0", "--tag", "killed")
        content = read_checkpoint(last["killed"])
        last["eight"].parent.mkdir()
        content["rng"]["cuda"] = [torch.zeros(16, dtype=torch.uint8)] * 8
        torch.save(content, last["eight"])
        finish(training_process(bench, "--resume", last["killed"], "--num_workers", "2"))
        yield same_bits("weights of a run killed and resumed", last["a"], last["killed"])
        finish(training_process(bench, "--resume", last["eight"], "--num_workers", "2"))
        yield same_bits("resumed from 8 GPUs' generators", last["a"], last["eight"])


def training_arguments(folder: Path) -> list[object]:
    """Arguments of a short training from ``folder``/init.pth, on lists of crops written into the folder."""
    for part, n in (("train", 96), ("val", 16)):
        (folder / part).mkdir()
        codes = list(FFPP.codes)
        records = write_crops(folder / part, n)
        lines = [f"{record.path} {codes[i % len(codes)]}\n" for i, record in enumerate(records)]
        (folder / f"{part}.txt").write_text("".join(lines), encoding="utf-8")
    lists = ["--txt_path_train", folder / "train.txt", "--txt_path_val", folder / "val.txt"]
    start = [*lists, "--init_from", folder / "init.pth", "--output", folder, "--name", "x", "--deterministic"]
    return [*start, "--batch_size", "16", "--num_epoch", "2", "--num_workers", "2", "--aug"]


def training_process(bench: Bench, *arguments: object) -> subprocess.Popen:
    """Start a training on the bench's device."""
    environment = os.environ | ({} if bench.on_cuda else {"CUDA_VISIBLE_DEVICES": ""})
    command = [sys.executable, str(ROOT / "SJEDD_train_FFpp.py"), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(*trainings: subprocess.Popen) -> None:
    """Wait for trainings. Raises UserError with the last line of one that fails."""
    for process in trainings:
        _, errors = process.communicate()
        if process.returncode:
            raise UserError(f"a training ended with {process.returncode}: {errors.strip().splitlines()[-1:]}")


def kill_in_the_middle(bench: Bench, last: Path, *arguments: object) -> None:
    """Start a training that saves after every step, and kill it after its second step."""
    process, saved = training_process(bench, *arguments), set()
    while process.poll() is None:
        if last.is_file():
            saved.add(last.stat().st_mtime_ns)
        if len(saved) == 2:
            process.kill()
            process.communicate()
            return
        time.sleep(0.002)
    raise UserError(f"the training ended with {process.returncode} before it was killed")


def same_bits(what: str, a: Path, b: Path) -> Figure:
    """Whether two checkpoints hold the same weights."""
    ours, theirs = (read_checkpoint(path)["model"] for path in (a, b))
    same = ours.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in ours.items())
    return Figure(what, "the same bits" if same else "differ", "the same bits", same)


def check_compile(bench: Bench) -> Iterator[Figure]:
    """--compile against the uncompiled step."""
    set_tf32(False)
    name, n, batch_size = ("tiny", 3, 4) if bench.quick else ("ViT-B/32", 50, 32)
    plain = list(steps_of(trainer_of(name, bench.device), batch_size, n))
    trainer = trainer_of(name, bench.device)
    compile_towers(trainer.model, batch_size=batch_size)
    frames = torch._dynamo.utils.counters["frames"]
    steps = steps_of(trainer, batch_size, n)
    results = [next(steps)]
    first = frames["ok"]
    results += steps
    yield Figure("recompilations after the first step", str(frames["ok"] - first), "0", frames["ok"] == first)
    difference = largest_difference(results, plain, "task_losses")
    yield Figure(f"losses of {n} steps", f"{difference:.1e}", "relative 1e-3", difference < 1e-3)
    precision = "bfloat16" if bench.on_cuda else "float32"
    trainers = [trainer_of(name, bench.device, precision=precision) for _ in range(2)]
    compile_towers(trainers[1].model, precision, batch_size)
    batches = batches_of(trainers[0], batch_size, 2)
    plain_s, fast_s = median_times([partial(each.step, *batches) for each in trainers], max(n // 5, 1), bench.device)
    yield Figure(f"{precision} step", f"{1000 * plain_s:.1f} ms, compiled {1000 * fast_s:.1f} ms")


def check_graph(bench: Bench) -> Iterator[Figure]:
    """--cuda_graph against the steps without it."""
    set_tf32(False)
    n = 3 if bench.quick else 50
    for name, precision in (
        (("tiny", "float32"),) if bench.quick else (("ViT-B/32", "float32"), ("ViT-B/32", "bfloat16"))
    ):
        graph = {"cuda_graph": True} if bench.on_cuda else {}  # a CPU has none: the same code without it
        trainers = [trainer_of(name, bench.device, precision=precision, **more) for more in ({}, graph)]
        plain, ours = (list(steps_of(trainer, 4 if bench.quick else 32, n)) for trainer in trainers)
        for what in ("task_losses", "weights"):
            difference = largest_difference(ours, plain, what)
            told = f"{name}, {precision}, {n} steps, {what}"
            yield Figure(told, f"{difference:.1e}", "relative 1e-4", difference < 1e-4)
        batches = batches_of(trainers[0], 4 if bench.quick else 32, 2)
        times = median_times(
            [partial(each.step, *batches) for each in trainers], 3 if bench.quick else 15, bench.device
        )
        told = f"{1000 * times[0]:.1f} ms, as a graph {1000 * times[1]:.1f} ms"
        yield Figure(f"{name}, {precision}, step", told)
    with TemporaryDirectory() as temporary:  # two learning rates, while the loaders' threads work
        folder = Path(temporary)
        save_checkpoint(folder / "init.pth", trainer_of("tiny", bench.device).model)
        start, last = training_arguments(folder), "ckpt_last.pth"
        as_graph = ["--cuda_graph"] if bench.on_cuda else []
        runs = {"plain": ["--no-cuda_graph"], "graph": as_graph}
        finish(*[training_process(bench, *start, *more, "--tag", tag) for tag, more in runs.items()])
        yield same_bits("weights of a whole run", folder / "x" / "plain" / last, folder / "x" / "graph" / last)


def check_speed(bench: Bench) -> Iterator[Figure]:
    """Time, peak memory, synchronisations and kernels of a step, on a GPU recorded as a graph."""
    cases = [("tiny", "float32", 4), ("tiny", "bfloat16", 4)] if bench.quick else [
        ("ViT-B/32", "float32", 32), ("ViT-B/32", "tf32", 32), ("ViT-B/32", "bfloat16", 32),
        ("ViT-B/32", "bfloat16", 256), ("ViT-L/14", "bfloat16", 32),
    ]  # fmt: skip
    for name, precision, batch_size in cases:
        set_tf32(precision == "tf32")
        trainer = trainer_of(name, bench.device, precision=precision, cuda_graph=bench.on_cuda)
        batches = batches_of(trainer, batch_size, 2)
        if bench.on_cuda:
            torch.cuda.reset_peak_memory_stats()
        (step_s,) = median_times([partial(trainer.step, *batches)], 3 if bench.quick else 15, bench.device)
        memory = f", {torch.cuda.max_memory_allocated() / 1e9:.1f} GB" if bench.on_cuda else ""
        goal = (name, precision, batch_size) == ("ViT-B/32", "bfloat16", 32)
        passed = 1000 * step_s <= GOAL_MS if goal else None
        told = f"{1000 * step_s:.1f} ms{memory}"
        yield Figure(f"step of {name}, {precision}, batch {batch_size}", told, f"{GOAL_MS} ms" if goal else "", passed)
        if goal or bench.quick:
            yield from inside_a_step(bench, partial(trainer.step, *batches))


def inside_a_step(bench: Bench, step: Callable[[], object]) -> Iterator[Figure]:
    """Synchronisations of one step, and a profile of five."""
    if bench.on_cuda:
        waits = waits_in(step)
        yield Figure("  synchronisations in it", str(waits), "2", waits <= 2)
    n = 1 if bench.quick else 5
    activity = ProfilerActivity.CUDA if bench.on_cuda else ProfilerActivity.CPU
    with profile(activities=[ProfilerActivity.CPU, activity] if bench.on_cuda else [activity]) as recorded:
        started = time.perf_counter()
        for _ in range(n):
            step()
        if bench.on_cuda:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    events = recorded.key_averages()
    of_device = "self_device_time_total" if bench.on_cuda else "self_cpu_time_total"
    on_device = [event for event in events if getattr(event, of_device) > 0]
    if bench.on_cuda:  # without the profiler's own marks, such as Optimizer.step#AdamW.step
        cuda = torch.autograd.DeviceType.CUDA
        on_device = [event for event in on_device if event.device_type == cuda and "#" not in event.key]
        yield Figure("  kernels in it", f"{sum(event.count for event in on_device) / n:.0f}")
    busy = sum(getattr(event, of_device) for event in on_device) / 1e6 / seconds
    yield Figure("  share of the time in which the device works", f"{100 * busy:.0f}%")
    for event in sorted(on_device, key=lambda event: -getattr(event, of_device))[:10]:
        told = f"{getattr(event, of_device) / 1000 / n:.2f} ms, {event.count / n:.0f} calls"
        yield Figure(f"  kernel {event.key[:60]}", told)


def check_reading(bench: Bench) -> Iterator[Figure]:
    """Images per second of the training loader and frames per second of scoring, with all cores."""
    cores = available_cores()
    images = 64 if bench.quick else 4096
    figures = benchmark("load.py", "--images", images, "--num_workers", cores)
    for kind, row in figures.items():
        yield Figure(f"training loader, {kind}, {cores} processes", f"{row['images_per_s']:.0f} images/s")
    sizes = ["--VM", "demo", "--frames", 32, "--runs", 1] if bench.quick else ["--frames", 4096]
    for precision in ("float32", "bfloat16"):
        figures = benchmark("score.py", *sizes, "--precision", precision, "--num_workers", cores)
        told = f"{figures['frames_per_s']:.0f} frames/s, {figures['ratio']:.2f} of the bare tower"
        yield Figure(f"scoring from PNG, {precision}", told)


def check_augmentation(bench: Bench) -> Iterator[Figure]:
    """--augment_on device: against a CPU's perturbations, time of a batch, synchronisations in it."""
    n, rng = (4 if bench.quick else 32), np.random.default_rng(0)
    with TemporaryDirectory() as name:
        crops = [read_image(record.path) for record in write_crops(Path(name), n)]
    height, width = crops[0].shape[:2]
    for kind in KINDS:
        places = [grey_places(height, width, 16, rng) if kind == "blocks" else None for _ in crops]
        strengths = QUALITIES if kind == "jpeg" else range(len(STRENGTHS[kind]))
        draws = [Draw(kind, strengths[i % len(strengths)], each) for i, each in enumerate(places)]
        flips = [i % 2 == 0 for i in range(n)]
        batch = RawFrames.collate(list(enumerate(zip(crops, draws, range(n), flips, strict=True))))[0]
        ours, cpu = (augmented(batch, 224, device).cpu().int() for device in (bench.device, torch.device("cpu")))
        if kind == "noise":
            apart = float((ours.float().std() / cpu.float().std() - 1).abs())
            yield Figure("noise, standard deviation", f"{apart:.1e} apart", "relative 1e-2", apart < 1e-2)
            continue
        near = float(((ours - cpu).abs() <= 1).float().mean())
        yield Figure(f"{kind}, values within one grey level", f"{100 * near:.3f}%", "99.9%", near >= 0.999)
    draws = [draw_augmentation(height, width, 1.0, rng) for _ in crops]
    batch = RawFrames.collate(list(enumerate(zip(crops, draws, range(n), flips, strict=True))))[0]
    (seconds,) = median_times([lambda: augmented(batch, 224, bench.device)], 3 if bench.quick else 15, bench.device)
    yield Figure(f"a batch of {n}, all perturbed", f"{1000 * seconds:.1f} ms")
    if bench.on_cuda:
        waits = waits_in(lambda: augmented(batch, 224, bench.device))
        yield Figure("  synchronisations in it", str(waits), "0", waits == 0)


def waits_in(function: Callable[[], object]) -> int:
    """How often the host waits for the GPU in a call, by PyTorch's warnings."""
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in caught)


def benchmark(name: str, *arguments: object) -> dict:
    """The figures of another benchmark."""
    command = [sys.executable, str(ROOT / "benchmarks" / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{name} ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout.splitlines()[-1])


def check_detection(bench: Bench) -> Iterator[Figure]:
    """MTCNN on the device against a CPU."""
    from preprocessing import make_demo_videos
    from preprocessing.detection.mtcnn import Mtcnn
    from preprocessing.extraction.video import read_frames

    with TemporaryDirectory() as name:
        numbers = ["--n_train", "2", "--n_val", "2", "--n_test", "2"]
        make_demo_videos.main(["--data_root", name, *numbers, "--workers", str(available_cores())])
        folders = [compression_dir(Path(name), method, "c23") / "videos" for method in ("real", *METHOD_CODES)]
        videos = sorted(path for folder in folders for path in folder.glob("*.mp4"))[: 2 if bench.quick else 20]
        frames = [[frame for _, frame in read_frames(video, range(6))] for video in videos]
    found, rates = {}, {}
    for device in ("cpu", str(bench.device)):
        detector = Mtcnn(device)
        detector.detect(frames[0])  # the first call starts the libraries
        started = time.perf_counter()
        found[device] = [faces for video in frames for faces in detector.detect(video)]
        rates[device] = sum(map(len, frames)) / (time.perf_counter() - started)
    ours, cpu = found[str(bench.device)], found["cpu"]
    same = sum(len(a.scores) == len(b.scores) for a, b in zip(ours, cpu, strict=True))
    yield Figure("frames with the same number of faces", f"{same} of {len(cpu)}", "all", same == len(cpu))
    moved = [np.abs(a.landmarks - b.landmarks).max() for a, b in zip(ours, cpu, strict=True)
             if len(a.scores) == len(b.scores) > 0]  # fmt: skip
    worst = float(max(moved, default=np.inf))
    yield Figure("landmarks", f"{worst:.3f} px apart", "0.5 px", worst <= 0.5)
    memory = f", {torch.cuda.max_memory_allocated() / 1e9:.2f} GB" if bench.on_cuda else ""
    yield Figure("MTCNN", f"{rates[str(bench.device)]:.0f} frames/s{memory}; cpu {rates['cpu']:.0f}")


def check_reductions(bench: Bench) -> Iterator[Figure]:
    """Averaging of gradients, in a group of one process that is told there are two: values must be halved."""
    backend = "cpu:gloo,cuda:nccl" if bench.on_cuda else "gloo"
    torch.distributed.init_process_group(backend, store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        values = torch.randn(3, 20_000_000, device=bench.device)
        expected = values / 2
        distributed.world_size = lambda: 2
        running = distributed.Reductions()
        for row in values:
            running.start(row)
        values *= running.finish()
        same = torch.equal(values, expected)
        yield Figure(f"{backend}, 3 rows", "right" if same else "wrong", "right", same)
        means, flags = distributed.means_and_flags(torch.tensor([3.0], device=bench.device).double(), [True, False])
        right = (means, flags) == ([1.5], [True, False])
        yield Figure("figures and requests to stop", "right" if right else "wrong", "right", right)
    finally:
        torch.distributed.destroy_process_group()


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run one check."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("check", choices=NAMES, help="which one")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="what is checked")
    parser.add_argument("--quick", action="store_true", help="small models, few steps")
    parser.add_argument("--output", type=Path, required=True, help="file that gets the figures, a line of JSON each")
    args = parser.parse_args(argv)
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError("no CUDA device was found")
    device = torch.device("cuda", 0) if args.device == "cuda" else torch.device("cpu")
    with args.output.open("w", encoding="utf-8") as file:
        for figure in globals()[f"check_{args.check}"](Bench(device, args.quick)):
            print(json.dumps(figure._asdict()), file=file, flush=True)


if __name__ == "__main__":
    sys.exit(main())
