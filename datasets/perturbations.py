"""The robustness suite: seven perturbations at five levels, applied to a crop before the resize.

It follows the public code of DeeperForensics-1.0 (Jiang et al., CVPR 2020) with three differences: crops are perturbed,
not whole videos; values are rounded, not truncated; and the chosen crops of a video are compressed as a clip.
"""

import hashlib
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datasets.records import Record, in_order
from datasets.transforms import (
    ImageError,
    ImageSource,
    gaussian_blur,
    gaussian_noise,
    grey_blocks,
    grey_places,
    pixelate,
)
from utils.cli import UserError

# Name -> parameter at the levels 1 to 5.
SUITE: dict[str, tuple[float, ...]] = {
    "saturation": (0.4, 0.3, 0.2, 0.1, 0.0),  # factor of the chroma
    "contrast": (0.85, 0.725, 0.6, 0.475, 0.35),  # factor of the pixel values
    "blockwise": (16, 32, 48, 64, 80),  # grey blocks for every whole 256 px of the shorter side
    "noise": (0.001, 0.002, 0.005, 0.01, 0.05),  # variance on [0, 1]
    "blur": (7, 9, 13, 17, 21),  # kernel in pixels
    "pixelation": (2, 3, 4, 5, 6),  # factor of the downscaling
    "compression": (30, 32, 35, 38, 40),  # H.264 constant rate factor
}


@dataclass(frozen=True, slots=True)
class Perturbation:
    """A perturbation of the suite at a level of 1 to 5 (worst). ``str`` gives NAME:LEVEL."""

    name: str
    level: int

    @property
    def parameter(self) -> float:
        return SUITE[self.name][self.level - 1]

    @property
    def folder(self) -> str:
        """Name of the folder of a test with it."""
        return f"{self.name}_{self.level}"

    def __str__(self) -> str:
        return f"{self.name}:{self.level}"


def whole_suite() -> list[Perturbation]:
    """All perturbations at all levels, in the suite's order."""
    return [Perturbation(name, level) for name, levels in SUITE.items() for level in range(1, len(levels) + 1)]


def parse_perturbation(text: str) -> Perturbation:
    """NAME:LEVEL -> the perturbation. Raises UserError for any other text."""
    named = {str(perturbation): perturbation for perturbation in whole_suite()}
    if text not in named:
        names = ", ".join(SUITE)
        raise UserError(f"no perturbation {text!r}; give NAME:LEVEL, a name of {names} and a level of 1 (weak) to 5")
    return named[text]


def record_rng(seed: int, name: str, record: Record) -> np.random.Generator:
    """The random generator of a record.

    It depends on the seed, the name of the perturbation, and the record's video and frame (an image without a video:
    its file name), not on the folder. Levels share the draws: stronger noise is the same noise scaled, and more blocks
    include those of lower levels.
    """
    video = record.video if record.video != record.path else ""
    identity = "\0".join((name, video, record.frame))
    digest = hashlib.sha256(identity.encode("utf-8", errors="surrogateescape")).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, dtype="<u4").tolist()])


def perturb(image: np.ndarray, perturbation: Perturbation, rng: np.random.Generator) -> np.ndarray:
    """Perturb a crop, uint8 [H, W, 3] RGB, into the same shape and dtype.

    - saturation: scale Cb and Cr about grey, keep Y (ITU-R BT.601); level 5 is grey.
    - contrast: scale all values towards black, as the public code does, not about the mean.
    - blockwise: (min(H, W) // 256) * parameter grey blocks. Below 256 px the public code draws none; here a smaller
      crop counts as 256 px.
    - compression: ``compress_clip`` of one frame.
    """
    parameter = perturbation.parameter
    match perturbation.name:
        case "saturation":
            return _saturate(image, parameter)
        case "contrast":
            return np.rint(image.astype(np.float32) * np.float32(parameter)).astype(np.uint8)
        case "blockwise":
            height, width, _ = image.shape
            n = max(min(height, width) // 256, 1) * int(parameter)
            return grey_blocks(image, grey_places(height, width, n, rng))
        case "noise":
            return gaussian_noise(image, parameter, rng)
        case "blur":
            return gaussian_blur(image, int(parameter))
        case "pixelation":
            return pixelate(image, int(parameter))
        case "compression":
            return compress_clip([image], int(parameter))[0]
    raise ValueError(perturbation.name)


def _saturate(image: np.ndarray, factor: float) -> np.ndarray:
    # To scale Cb and Cr and keep Y is to mix the image with its luma, so the result is in gamut.
    rgb = image.astype(np.float32)
    luma = (rgb @ np.array([0.299, 0.587, 0.114], dtype=np.float32))[..., np.newaxis]
    return np.rint(luma + np.float32(factor) * (rgb - luma)).astype(np.uint8)


def compress_clip(frames: Sequence[np.ndarray], crf: int) -> list[np.ndarray]:
    """Encode frames of one size as an H.264 clip and decode it.

    libx264 with its default preset, yuv420p (BT.601, studio swing), 25 frames a second. Odd sizes are padded with their
    last row and column for the encoder. One thread and exact colour conversion (the fast one darkens by 1.3 grey
    levels) give the same result on any machine with this ffmpeg.

    frames: Each uint8 [H, W, 3] RGB, as is each result. crf: Constant rate factor. Raises OSError if ffmpeg fails.
    """
    height, width = frames[0].shape[:2]
    padded = [np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge") for frame in frames]
    shape = (len(frames), *padded[0].shape)
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24"]
    colours = ["-sws_flags", "accurate_rnd+full_chroma_int+bitexact"]
    x264 = ["-c:v", "libx264", "-preset", "medium", "-crf", str(crf), "-pix_fmt", "yuv420p", "-threads", "1"]
    source = [*raw, "-video_size", f"{shape[2]}x{shape[1]}", "-framerate", "25", "-i", "-"]
    encoded = _ffmpeg([*source, *colours, *x264, "-f", "h264", "-"], b"".join(frame.tobytes() for frame in padded))
    source = ["-threads", "1", "-f", "h264", "-i", "-"]
    decoded = _ffmpeg([*source, *colours, "-fps_mode", "passthrough", *raw, "-"], encoded)
    if len(decoded) != np.prod(shape):
        raise OSError(f"ffmpeg returned {len(decoded)} bytes for a clip of {np.prod(shape)}")
    return list(np.frombuffer(decoded, dtype=np.uint8).reshape(shape)[:, :height, :width])


def _ffmpeg(arguments: list[str], content: bytes) -> bytes:
    """Standard output of imageio-ffmpeg's ffmpeg for ``content`` on its standard input."""
    try:
        import imageio_ffmpeg

        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *arguments]
    except (ImportError, RuntimeError) as error:  # RuntimeError: the package without its binary
        raise OSError(f"imageio-ffmpeg has no ffmpeg ({error})") from error
    # In a new session, so that Ctrl-C does not reach ffmpeg: the script stops its workers itself.
    done = subprocess.run(command, input=content, capture_output=True, check=False, start_new_session=True)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise OSError(f"ffmpeg failed with code {done.returncode}: {lines[0]}")
    return done.stdout


def compression_unavailable() -> str | None:
    """Compress a small clip. Returns why this machine cannot; None if it can."""
    try:
        compress_clip([np.full((16, 16, 3), 128, dtype=np.uint8)], 30)
    except OSError as error:
        fix = "pip install --force-reinstall imageio-ffmpeg"
        return f"perturbation compression needs ffmpeg with libx264: {error}; {fix}"
    return None


class PerturbedImages:
    """An image source that perturbs each image of another source. The seed and the record seed the draws."""

    def __init__(self, images: ImageSource, records: Sequence[Record], perturbation: Perturbation, seed: int) -> None:
        self._source, self._records, self._perturbation, self._seed = images, records, perturbation, seed

    def read(self, index: int) -> np.ndarray:
        rng = record_rng(self._seed, self._perturbation.name, self._records[index])
        return perturb(self._source.read(index), self._perturbation, rng)


class CompressedVideos:
    """An image source that compresses the videos of another source.

    All readable images of a video make one clip (one for each image size), in order of their numbers. The clip is made
    when one of its images is read, and kept until an image of another video is: read video by video.
    """

    def __init__(self, images: ImageSource, records: Sequence[Record], crf: int) -> None:
        self._source, self._records, self._crf = images, records, crf
        self._indices: dict[str, list[int]] = {}
        for index, record in enumerate(records):
            self._indices.setdefault(record.video, []).append(index)
        self._video: str | None = None
        self._images: dict[int, np.ndarray | str] = {}

    def read(self, index: int) -> np.ndarray:
        video = self._records[index].video
        if video != self._video:
            self._images = self._compress(in_order(self._indices[video], lambda i: self._records[i].path))
            self._video = video
        image = self._images[index]
        if isinstance(image, str):
            raise ImageError(image)
        return image

    def _compress(self, indices: list[int]) -> dict[int, np.ndarray | str]:
        """Record index -> compressed image, or the reason why it is unreadable."""
        images: dict[int, np.ndarray | str] = {}
        sizes: dict[tuple[int, ...], dict[int, np.ndarray]] = {}
        for index in indices:
            try:
                image = self._source.read(index)
                sizes.setdefault(image.shape, {})[index] = image
            except ImageError as error:
                images[index] = str(error)
        for members in sizes.values():
            try:
                images.update(zip(members, compress_clip(list(members.values()), self._crf), strict=True))
            except OSError as error:  # for example a size that the encoder does not take
                images.update(dict.fromkeys(members, f"unreadable_image: no video can be made of it ({error})"))
        return images


def perturbed(
    images: ImageSource, records: Sequence[Record], perturbation: Perturbation | None, seed: int
) -> ImageSource:
    """``images`` with a perturbation, if one is given."""
    if perturbation is None:
        return images
    if perturbation.name == "compression":
        return CompressedVideos(images, records, int(perturbation.parameter))
    return PerturbedImages(images, records, perturbation, seed)
