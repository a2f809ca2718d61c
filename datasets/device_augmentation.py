"""The training augmentation and resize of a whole batch on the training device: --augment_on device.

Pure functions of tensors. They equal ``augmentation`` and ``transforms.resize`` on the CPU, bit for bit with usual
builds of PIL, OpenCV and libjpeg; noise has the same distribution and other draws. Nearly everything is a product with
a small matrix, made once for each device and crop size: a batch takes few kernels, and the host never waits for the
device. All sums are of whole numbers that float32 holds exactly, or float64 if they are larger.

Images are float32 [n, 3, H, W], RGB, whole numbers from 0 to 255, unless a function says otherwise. Strengths are int64
[n], see ``augmentation.Draw``.
"""

import functools
import io
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from torch.nn import functional

from datasets.augmentation import KINDS, STRENGTHS
from datasets.raw_frames import RawBatch, SizeGroup
from datasets.transforms import FROM_YCBCR
from utils.devices import exact_products


def augmented(batch: RawBatch, size: int, device: torch.device) -> torch.Tensor:
    """Perturb and resize the images of a batch -> uint8 [B, 3, size, size] RGB on ``device``, in the batch's order."""
    with exact_products():
        resized = torch.cat([resize(perturb(group, device), size) for group in batch.groups])
    return resized[batch.order.to(device, non_blocking=True)].to(torch.uint8)


def perturb(group: SizeGroup, device: torch.device) -> torch.Tensor:
    """Move the crops of a group to ``device``, mirror some of them, and perturb them."""
    images = group.crops.to(device, non_blocking=True).permute(0, 3, 1, 2)
    images = images.to(torch.float32, memory_format=torch.contiguous_format)
    if len(group.flips):
        flips = group.flips.to(device, non_blocking=True)
        images[flips] = images[flips].flip(3)
    strengths = group.strengths.to(device, non_blocking=True)
    end = len(images) - sum(group.counts)  # those without a perturbation come first
    for kind, count in zip(KINDS, group.counts, strict=True):
        if count:
            part = slice(end, end := end + count)
            images[part] = _PERTURBATIONS[kind](images[part], strengths[part], group)
    return images


def grey_blocks(images: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Paint blocks of 8 x 8 pixels of grey 128. places: corners (y, x) in each image, int64 [n, blocks, 2]."""

    def covered(corners: torch.Tensor, length: int) -> torch.Tensor:  # -> [n, blocks, length], 1 inside
        distance = torch.arange(length, device=images.device) - corners[..., None]
        return ((distance >= 0) & (distance < 8)).float()

    rows, columns = covered(places[..., 0], images.shape[2]), covered(places[..., 1], images.shape[3])
    return images.masked_fill((rows.transpose(1, 2) @ columns > 0)[:, None], 128.0)


def gaussian_noise(images: torch.Tensor, strengths: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
    """Add white noise in 8-bit studio-swing YCbCr, of variance STRENGTHS["noise"][strength]. seeds: one per image."""
    noise = torch.empty_like(images)
    for one, seed in zip(noise, seeds, strict=True):
        one.normal_(generator=torch.Generator(images.device).manual_seed(seed))
    # rgb = 255 (ycbcr + s noise) F^T with the forward conversion before it is rgb + 255 s noise F^T.
    deviations = _constant("noise_deviation", images.device)[strengths].view(-1, 1, 1)
    mixed = _constant("from_ycbcr", images.device) @ noise.flatten(2) * deviations
    return (images + mixed.view_as(images)).round_().clamp_(0, 255)


def gaussian_blur(images: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    """Gaussian of STRENGTHS["blur"][strength] pixels, sigma a sixth of it, in OpenCV's whole 256ths.

    Borders are mirrored without repeating their own pixel.
    """
    rows, columns = (_constant("blur", images.device, length)[strengths] for length in images.shape[2:])
    blurred = rows[:, None] @ (images @ columns.transpose(1, 2)[:, None])
    return blurred.add_(0.5).floor_()


def pixelate(images: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    """Bilinear down by STRENGTHS["pixelation"][strength] and up again, in OpenCV's whole 2048ths."""
    sides = images.shape[2:]
    for name in ("down", "up"):
        images = _bilinear(images, *(_constant(name, images.device, length)[strengths] for length in sides))
    return images


def _bilinear(images: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Mix each new pixel of four. rows, columns: ``_neighbours`` of each image, [n, 2, h, H] and [n, 2, w, W]."""
    across = (images @ columns.sum(1).transpose(1, 2)[:, None]).mul_(1 / 16).floor_().double()
    above, below = (rows.flatten(1, 2)[:, None].double() @ across).mul_(1 / 65536).floor_().chunk(2, dim=2)
    return above.add_(below).add_(2).mul_(1 / 4).floor_().float()


def resize(images: torch.Tensor, size: int) -> torch.Tensor:
    """PIL's antialiased bicubic to [n, 3, size, size], rounded between its two passes as in PIL."""
    height, width = images.shape[2:]
    if width != size:
        across = images @ _constant("bicubic", images.device, width, size).T
        images = _rounded(*across.split(size, dim=3))
    if height != size:
        down = _constant("bicubic", images.device, height, size) @ images
        images = _rounded(*down.split(size, dim=2))
    return images


def _rounded(high: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    """The sum of whole 2^-11ths and of whole 2^-22ths, rounded to grey levels."""
    return low.double().add_(high).add_(0.5).floor_().clamp_(0, 255).float()


def jpeg(images: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    """Encode as baseline JPEG of the quality ``strengths`` and decode, in libjpeg's whole numbers.

    As libjpeg does by default: 4:2:0, "islow" transforms, standard tables, "fancy" upsampling.
    """
    height, width = images.shape[2:]
    padded = functional.pad(images, (0, -width % 16, 0, -height % 16), mode="replicate").double()
    ycc = (
        (_constant("to_ycc", images.device) @ padded.flatten(2))
        .add_(_constant("to_ycc_offset", images.device))
        .floor_()
    )
    ycc = ycc.view_as(padded)
    # The mean of 2 x 2, rounded up and down in turn along a row. Columns are padded before it, rows after it.
    chroma = ycc[:, 1:, : height + height % 2].unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5))
    chroma = chroma.add_(_constant("chroma_rounding_down", images.device, chroma.shape[3])).floor_()
    chroma = functional.pad(chroma, (0, 0, 0, -chroma.shape[2] % 8), mode="replicate")
    luma, chroma = _coded(ycc[:, :1], chroma, _constant("quantisation", images.device)[strengths])
    chroma = chroma[:, :, : -(-height // 2), : -(-width // 2)] - 128
    rows, columns = (_constant("chroma_up", images.device, length) for length in (height, width))
    chroma = (rows @ (chroma @ columns.T)).add_(_constant("chroma_rounding_up", images.device, width)).floor_()
    colour = (_constant("from_ycc", images.device) @ chroma.flatten(2)).add_(0.5).floor_().view_as(images)
    return colour.add_(luma[:, :, :height, :width]).clamp_(0, 255).float()


def _coded(luma: torch.Tensor, chroma: torch.Tensor, tables: torch.Tensor) -> list[torch.Tensor]:
    """Transform the 8 x 8 blocks of the planes, quantise them, and transform back.

    luma: float64 [n, 1, H, W]. chroma: float64 [n, 2, h, w]. tables: of luma and chroma, float64 [n, 2, 8, 8].
    """
    planes = luma, chroma
    blocks = [plane.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).transpose(3, 4) for plane in planes]
    shapes = [block.shape for block in blocks]  # [n, planes, blocks down, blocks across, y, x]
    blocks = [block.flatten(1, 3) for block in blocks]
    counts = [block.shape[1] for block in blocks]
    divisors = torch.cat([tables[:, i : i + 1].expand(-1, counts[i], -1, -1) for i in (0, 1)], dim=1).transpose(2, 3)
    transform = _constant("islow", luma.device)
    rows = _descaled((torch.cat(blocks, dim=1) - 128) @ transform.T, 11)
    coefficients = _descaled(rows.transpose(2, 3) @ transform.T, 15)  # [n, blocks, horizontal, vertical frequency]
    sizes = coefficients.abs().div_(divisors).mul_(1 / 8).add_(0.5).floor_().mul_(divisors)
    columns = _descaled(sizes.copysign_(coefficients) @ transform, 11)
    pixels = _descaled(columns.transpose(2, 3) @ transform, 18).add_(128).clamp_(0, 255)
    parts = pixels.split(counts, dim=1)
    return [
        part.view(shape).transpose(3, 4).flatten(4).flatten(2, 3) for part, shape in zip(parts, shapes, strict=True)
    ]


def _descaled(values: torch.Tensor, bits: int) -> torch.Tensor:
    return values.mul_(2.0**-bits).add_(0.5).floor_()


_PERTURBATIONS: dict[str, Callable[[torch.Tensor, torch.Tensor, SizeGroup], torch.Tensor]] = {
    "blocks": lambda images, _, group: grey_blocks(images, group.places.to(images.device, non_blocking=True)),
    "noise": lambda images, strengths, group: gaussian_noise(images, strengths, group.seeds),
    "blur": lambda images, strengths, _: gaussian_blur(images, strengths),
    "pixelation": lambda images, strengths, _: pixelate(images, strengths),
    "jpeg": lambda images, strengths, _: jpeg(images, strengths),
}


# Constants. Each is made on the CPU, once for a device.


@functools.lru_cache(maxsize=256)  # each crop size has its own matrices
def _constant(name: str, device: torch.device, *lengths: int) -> torch.Tensor:
    return torch.from_numpy(_CONSTANTS[name](*lengths)).to(device)


def _bicubic(before: int, after: int) -> np.ndarray:
    """Cubic convolution (a = -0.5), widened by the reduction; rows sum to 1, in whole 2^-22ths as in PIL.

    Returns float32 [2 * after, before]: the part of whole 2^-11ths, and below it the rest.
    """
    scale = before / after
    widened = max(scale, 1.0)
    matrix = np.zeros((after, before))
    for i in range(after):
        centre = (i + 0.5) * scale
        first, end = max(int(centre - 2 * widened + 0.5), 0), min(int(centre + 2 * widened + 0.5), before)
        x = np.abs((np.arange(first, end) - centre + 0.5) / widened)
        near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        weights = np.where(x < 1, near, np.where(x < 2, far, 0))
        exact = weights / weights.sum() * 2**22
        matrix[i, first:end] = np.trunc(exact + np.copysign(0.5, exact))
    matrix /= 2**22
    high = np.rint(matrix * 2**11) / 2**11
    return np.concatenate((high, matrix - high)).astype(np.float32)


def _blur(kernel: int, length: int) -> np.ndarray:
    """[length, length]: the Gaussian in whole 256ths; each weight takes the rounding error of those further out."""
    offsets = np.arange(kernel) - kernel // 2
    weights = np.exp(-(offsets**2) / (2 * (kernel / 6) ** 2))
    weights = 256 * weights / weights.sum()
    error = 0.0
    for i in range(kernel // 2):
        exact = weights[i] + error
        weights[i] = weights[-1 - i] = np.rint(exact)
        error = exact - weights[i]
    weights[kernel // 2] = 256 - 2 * weights[: kernel // 2].sum()
    matrix, rows = np.zeros((length, length), dtype=np.float32), np.arange(length)
    mirrored = np.pad(rows, kernel // 2, mode="reflect")
    for i, weight in enumerate(weights / 256):
        matrix[rows, mirrored[i : i + length]] += weight
    return matrix


def _neighbours(before: int, after: int) -> np.ndarray:
    """[2, after, before]: the weights of the two old pixels around each new pixel, in 2048ths."""
    places = ((np.arange(after) + 0.5) * before / after - 0.5).astype(np.float32)
    first = np.floor(places)
    part = places - first
    matrices = np.zeros((2, after, before), dtype=np.float32)
    for matrix, place, share in zip(matrices, (first, first + 1), (1 - part, part), strict=True):
        matrix[np.arange(after), place.clip(0, before - 1).astype(int)] = np.rint(share * 2048)
    return matrices


def _chroma_up(length: int) -> np.ndarray:
    """[length, half as long]: three quarters of the nearest pixel and one of the next."""
    half = -(-length // 2)
    matrix, i = np.zeros((length, half)), np.arange(length)
    matrix[i, i // 2] = 0.75
    np.add.at(matrix, (i, (i // 2 - 1 + 2 * (i % 2)).clip(0, half - 1)), 0.25)
    return matrix


def _quantisation() -> np.ndarray:
    """libjpeg's tables of luma and chroma of each quality, float64 [101, 2, 8, 8]; there is no quality 0."""
    tables = np.zeros((101, 2, 8, 8))
    for quality in range(1, 101):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, "JPEG", quality=quality)
        buffer.seek(0)
        tables[quality] = np.array(list(JpegImageFile(buffer).quantization.values())).reshape(2, 8, 8)
    return tables


def _islow() -> np.ndarray:
    """The 8-point transform of libjpeg's "islow" (Loeffler, Ligtenberg and Moschytz, ICASSP 1989) in 8192ths.

    Returns float64 [frequency, sample]. Its steps are linear and only the result is rounded, so it is a product with
    a matrix; the inverse is the product with the transpose. 10703 and 10704 are the same constant: libjpeg adds up
    parts that were rounded one by one.
    """
    even = np.array([[8192, 8192, 8192, 8192], [10703, 4433, -4433, -10703], [8192, -8192, -8192, 8192],
                     [4433, -10704, 10704, -4433]])  # fmt: skip
    odd = np.array([[11363, 9633, 6437, 2260], [9633, -2259, -11362, -6436], [6437, -11362, 2261, 9633],
                    [2260, -6436, 9633, -11363]])  # fmt: skip
    matrix = np.empty((8, 8))
    matrix[0::2] = np.hstack((even, even[:, ::-1]))
    matrix[1::2] = np.hstack((odd, -odd[:, ::-1]))
    return matrix


def _factors(side: Callable[[int, int], tuple[int, int]], length: int) -> np.ndarray:
    """``_neighbours`` of each factor of pixelation, padded with zeros to one shape.

    side: (length, shorter length) -> (before, after).
    """
    tables = [_neighbours(*side(length, max(length // int(factor), 1))) for factor in STRENGTHS["pixelation"]]
    height, width = np.max([table.shape[1:] for table in tables], axis=0)
    return np.stack([np.pad(t, ((0, 0), (0, height - t.shape[1]), (0, width - t.shape[2]))) for t in tables])


_CONSTANTS: dict[str, Callable[..., np.ndarray]] = {
    "noise_deviation": lambda: np.array([255 * variance**0.5 for variance in STRENGTHS["noise"]], dtype=np.float32),
    "from_ycbcr": lambda: 255 * FROM_YCBCR,
    "blur": lambda length: np.stack([_blur(int(kernel), length) for kernel in STRENGTHS["blur"]]),
    "down": lambda length: _factors(lambda long, short: (long, short), length),
    "up": lambda length: _factors(lambda long, short: (short, long), length),
    "bicubic": _bicubic,
    "to_ycc": lambda: np.array([[19595, 38470, 7471], [-11059, -21709, 32768], [32768, -27439, -5329]]) / 65536,
    "to_ycc_offset": lambda: np.array([[0.5], [128 + 32767 / 65536], [128 + 32767 / 65536]]),
    "from_ycc": lambda: np.array([[0, 91881], [-22554, -46802], [116130, 0]]) / 65536,  # RGB by CbCr, about grey
    "chroma_rounding_down": lambda length: (1 + np.arange(length) % 2) / 4,
    "chroma_rounding_up": lambda length: (8 - np.arange(length) % 2) / 16,
    "chroma_up": _chroma_up,
    "quantisation": _quantisation,
    "islow": _islow,
}
