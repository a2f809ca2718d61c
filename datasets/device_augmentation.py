"""The training augmentation and resize of a whole batch on the training device: --augment_on device.

Pure functions of tensors that give what ``augmentation`` and ``transforms.resize`` give on the CPU, to the bit where
PIL, OpenCV and libjpeg compute as they do here; noise has the same distribution and other draws. Nearly everything is a
product with a small matrix, made once for each device and size of crops: a batch takes few kernels, and the host never
waits for the device. All sums are of whole numbers that float32 holds exactly, or float64 where they are larger.

Images are float32 [n, 3, H, W], RGB, with the whole numbers 0 to 255, unless a function says otherwise.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch.nn import functional

from datasets.augmentation import KINDS, STRENGTHS
from datasets.raw_frames import RawBatch, SizeGroup
from datasets.transforms import FROM_YCBCR

_BITS = 22  # of the fractions of PIL's resampling coefficients


def augmented(batch: RawBatch, size: int, device: torch.device) -> torch.Tensor:
    """The perturbed and resized images of a batch on ``device``, uint8 [B, 3, size, size] RGB, in the batch's order."""
    with _exact_products():
        resized = torch.cat([resize(perturb(group, device), size) for group in batch.groups])
    return resized[batch.order.to(device, non_blocking=True)].to(torch.uint8)


@contextlib.contextmanager
def _exact_products() -> Iterator[None]:
    """Float32 products that TF32 does not round, whatever the run's --precision."""
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed


def perturb(group: SizeGroup, device: torch.device) -> torch.Tensor:
    """The crops of a group, each with its perturbation, on ``device``."""
    images = group.crops.to(device, non_blocking=True).permute(0, 3, 1, 2)
    images = images.to(torch.float32, memory_format=torch.contiguous_format)
    strengths = group.strengths.to(device, non_blocking=True)
    end = len(images) - sum(group.counts)  # those without a perturbation come first
    for kind, count in zip(KINDS, group.counts, strict=True):
        if count:
            part = slice(end, end := end + count)
            images[part] = _perturb(kind, images[part], strengths[part], group, device)
    return images


def _perturb(
    kind: str, images: torch.Tensor, strengths: torch.Tensor, group: SizeGroup, device: torch.device
) -> torch.Tensor:
    match kind:
        case "blocks":
            return grey_blocks(images, group.places.to(device, non_blocking=True))
        case "noise":
            return gaussian_noise(images, strengths, group.seeds)
        case "blur":
            return gaussian_blur(images, strengths)
        case "pixelation":
            return pixelate(images, strengths)
        case "jpeg":
            return jpeg(images, strengths)
    raise ValueError(kind)


def grey_blocks(images: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Blocks of 8 x 8 pixels of grey 128. places: corners (y, x) in each image, int64 [n, blocks, 2]."""

    def covered(corners: torch.Tensor, length: int) -> torch.Tensor:  # -> [n, blocks, length], 1 inside
        distance = torch.arange(length, device=images.device) - corners[..., None]
        return ((distance >= 0) & (distance < 8)).float()

    rows, columns = covered(places[..., 0], images.shape[2]), covered(places[..., 1], images.shape[3])
    return images.masked_fill((rows.transpose(1, 2) @ columns > 0)[:, None], 128.0)


def gaussian_noise(images: torch.Tensor, strengths: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
    """White noise in 8-bit studio-swing YCbCr, its variance STRENGTHS["noise"][strength]. seeds: of each image."""
    noise = torch.empty_like(images)
    for one, seed in zip(noise, seeds, strict=True):
        one.normal_(generator=torch.Generator(images.device).manual_seed(seed))
    # rgb = 255 (ycbcr + s noise) F^T with the forward conversion before it is rgb + 255 s noise F^T.
    deviations = _table("noise", images.device)[strengths].view(-1, 1, 1)
    mixed = _tensor(_from_ycbcr, images.device) @ noise.flatten(2) * deviations
    return (images + mixed.view_as(images)).round_().clamp_(0, 255)


def gaussian_blur(images: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    """Gaussian of STRENGTHS["blur"][strength] pixels, sigma a sixth of it, mirrored at the borders without their
    pixels, in OpenCV's whole 256ths."""
    rows, columns = (_by_strength("blur", length, images.device)[strengths] for length in images.shape[2:])
    return _both_ways(images, rows, columns).add_(0.5).floor_()


def pixelate(images: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    """Bilinear down by STRENGTHS["pixelation"][strength] and up again, in OpenCV's whole 2048ths."""
    sides = images.shape[2:]
    for what in ("down", "up"):
        images = _bilinear(images, *(_by_strength(what, length, images.device)[strengths] for length in sides))
    return images


def _bilinear(images: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Each pixel between four. rows, columns: see ``_neighbours``, of each image, [n, 4, h] and [n, 4, w]."""
    (left, right), (from_left, from_right) = columns[:, :2].long().unbind(1), columns[:, 2:].unbind(1)
    (top, bottom), (from_top, from_bottom) = rows[:, :2].long().unbind(1), rows[:, 2:].unbind(1)
    height, width = images.shape[2], left.shape[1]

    def column(places: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        chosen = images.gather(3, places[:, None, None].expand(-1, 3, height, -1))
        return chosen * weights[:, None, None]

    across = torch.floor((column(left, from_left) + column(right, from_right)) / 16)

    def row(places: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        chosen = across.gather(2, places[:, None, :, None].expand(-1, 3, -1, width))
        return torch.floor(chosen.double() * weights[:, None, :, None] / 65536)

    return torch.floor((row(top, from_top) + row(bottom, from_bottom) + 2) / 4).float()


def _both_ways(images: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """rows [n, h, H] times images [n, 3, H, W] times the transpose of columns [n, w, W] -> [n, 3, h, w]."""
    return rows[:, None] @ (images @ columns.transpose(1, 2)[:, None])


def resize(images: torch.Tensor, size: int) -> torch.Tensor:
    """PIL's antialiased bicubic to [n, 3, size, size], rounded between its two passes as PIL does."""
    height, width = images.shape[2:]
    if width != size:
        across = images @ _tensor(_pil_bicubic, images.device, width, size).T
        images = _rounded(*across.split(size, dim=3))
    if height != size:
        down = _tensor(_pil_bicubic, images.device, height, size) @ images
        images = _rounded(*down.split(size, dim=2))
    return images


def _rounded(high: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    """Sums of 2^-11ths and the rest of 2^-22ths, each of them whole and below 2^24 -> the nearest grey level."""
    sums = (high.int() << _BITS // 2) + low.int() + (1 << _BITS - 1)
    return (sums >> _BITS).clamp_(0, 255).float()


def jpeg(images: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    """Encoded as baseline JPEG of the quality STRENGTHS["jpeg"][strength] and decoded, in libjpeg's whole numbers: its
    colour conversion, 4:2:0, its "islow" transforms, the standard tables, its "fancy" upsampling."""
    height, width = images.shape[2:]
    padded = functional.pad(images, (0, -width % 16, 0, -height % 16), mode="replicate").double()
    ycc = _colours(padded, _tensor(_to_ycc, images.device), _tensor(_to_ycc_offset, images.device))
    luma, chroma = ycc[:, :1], ycc[:, 1:, : height + height % 2]
    # The mean of 2 x 2, rounded up and down by turns along a row. Rows are filled up after it, columns before.
    sums = chroma.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).sum((3, 5))
    chroma = torch.floor((sums + 1 + torch.arange(sums.shape[3], device=images.device) % 2) / 4)
    chroma = functional.pad(chroma, (0, 0, 0, -chroma.shape[2] % 8), mode="replicate")
    tables = _table("jpeg", images.device)[strengths]  # [n, 2, 8, 8]
    luma, chroma = _coded(luma, tables[:, :1]), _coded(chroma, tables[:, 1:])
    chroma = _upsampled(chroma[:, :, : -(-height // 2), : -(-width // 2)])[:, :, :height, :width]
    cb, cr = (chroma - 128).unbind(1)
    luma = luma[:, 0, :height, :width]
    red = luma + torch.floor((91881 * cr + 32768) / 65536)
    green = luma + torch.floor((-22554 * cb - 46802 * cr + 32768) / 65536)
    blue = luma + torch.floor((116130 * cb + 32768) / 65536)
    return torch.stack((red, green, blue), dim=1).clamp_(0, 255).float()


def _colours(images: torch.Tensor, matrix: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    """matrix [3, 3] times the channels of images [n, 3, H, W], with offset [3, 1], in whole 65536ths, floored."""
    mixed = matrix @ images.flatten(2)
    return torch.floor((mixed + offset) / 65536).view_as(images)


def _coded(planes: torch.Tensor, tables: torch.Tensor) -> torch.Tensor:
    """Planes [n, c, H, W] of 8 x 8 blocks through transform, quantisation and back, float64; tables [n, 1, 8, 8]."""
    transform, tables = _tensor(_islow, planes.device), tables.transpose(2, 3)[:, :, None, None]
    blocks = planes.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).transpose(3, 4) - 128  # [n, c, h, w, y, x]
    rows = _descaled(blocks @ transform.T, 11)
    coefficients = _descaled(rows.transpose(4, 5) @ transform.T, 15)  # [n, c, h, w, horizontal, vertical frequency]
    levels = torch.floor(coefficients.abs() / (8 * tables) + 0.5) * coefficients.sign()
    columns = _descaled((levels * tables) @ transform, 11)
    pixels = _descaled(columns.transpose(4, 5) @ transform, 18)
    return (pixels + 128).clamp_(0, 255).transpose(3, 4).flatten(4).flatten(2, 3).view_as(planes)


def _descaled(values: torch.Tensor, bits: int) -> torch.Tensor:
    return torch.floor(values / 2**bits + 0.5)


def _upsampled(planes: torch.Tensor) -> torch.Tensor:
    """Twice as high and wide, each pixel from the nearest 2 x 2 in parts of 9, 3, 3 and 1 sixteenths."""
    padded = functional.pad(planes, (1, 1, 1, 1), mode="replicate")
    middle = 3 * padded[:, :, 1:-1]
    rows = torch.stack((middle + padded[:, :, :-2], middle + padded[:, :, 2:]), dim=3).flatten(2, 3)
    centre = 3 * rows[..., 1:-1]
    left, right = torch.floor((centre + rows[..., :-2] + 8) / 16), torch.floor((centre + rows[..., 2:] + 7) / 16)
    return torch.stack((left, right), dim=4).flatten(3)


# The constants. Each is made on the CPU, and once on a device.


@functools.lru_cache(maxsize=256)  # crops of many sizes have matrices of their own each
def _tensor(make: Callable[..., np.ndarray], device: torch.device, *arguments: int) -> torch.Tensor:
    return torch.from_numpy(make(*arguments)).to(device)


def _table(kind: str, device: torch.device) -> torch.Tensor:
    """What a kind's strengths stand for, one after the other."""
    return _tensor({"noise": _deviations, "jpeg": _quantisation}[kind], device)


def _by_strength(what: str, length: int, device: torch.device) -> torch.Tensor:
    """The matrices, or the neighbours, of both strengths for a side of ``length``, float32 [2, ...]."""
    return _tensor({"blur": _blurs, "down": _downs, "up": _ups}[what], device, length)


def _deviations() -> np.ndarray:
    return np.array([255 * variance**0.5 for variance in STRENGTHS["noise"]], dtype=np.float32)


def _from_ycbcr() -> np.ndarray:
    return 255 * FROM_YCBCR


def _pil_bicubic(before: int, after: int) -> np.ndarray:
    """Cubic convolution (a = -0.5) as wide as the reduction, each row's sum 1, rounded to 2^-22ths: a matrix of whole
    2^-11ths, and below it one of the 2^-22ths that are left, float32 [2 * after, before]."""
    scale = before / after
    widened = max(scale, 1.0)
    matrix = np.zeros((after, before))
    for i in range(after):
        centre = (i + 0.5) * scale
        first, end = max(int(centre - 2 * widened + 0.5), 0), min(int(centre + 2 * widened + 0.5), before)
        x = np.abs((np.arange(first, end) - centre + 0.5) / widened)
        near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        weights = np.where(x < 1, near, np.where(x < 2, far, 0))
        exact = weights / weights.sum() * 2**_BITS
        matrix[i, first:end] = np.trunc(exact + np.copysign(0.5, exact))
    high = np.rint(matrix / 2 ** (_BITS // 2))
    return np.concatenate((high, matrix - high * 2 ** (_BITS // 2))).astype(np.float32)


def _blurs(length: int) -> np.ndarray:
    return np.stack([_blur(int(kernel), length) for kernel in STRENGTHS["blur"]])


def _blur(kernel: int, length: int) -> np.ndarray:
    """[length, length]: the Gaussian in 256ths, each rounded with the error of those further out."""
    offsets = np.arange(kernel) - kernel // 2
    weights = np.exp(-(offsets**2) / (2 * (kernel / 6) ** 2))
    weights = 256 * weights / weights.sum()
    error = 0.0
    for i in range(kernel // 2):
        exact = weights[i] + error
        weights[i] = weights[-1 - i] = np.rint(exact)
        error = exact - weights[i]
    weights[kernel // 2] = 256 - 2 * weights[: kernel // 2].sum()
    matrix = np.zeros((length, length), dtype=np.float32)
    for i in range(length):
        for offset, weight in zip(offsets, weights / 256, strict=True):
            matrix[i, _mirrored(i + offset, length)] += weight
    return matrix


def _mirrored(i: int, length: int) -> int:
    """A position beyond a border -> the one it mirrors; the border's own pixel is not repeated."""
    while length > 1 and not 0 <= i < length:
        i = -i if i < 0 else 2 * (length - 1) - i
    return i if length > 1 else 0


def _downs(length: int) -> np.ndarray:
    return _filled([_neighbours(length, max(length // int(factor), 1)) for factor in STRENGTHS["pixelation"]])


def _ups(length: int) -> np.ndarray:
    return _filled([_neighbours(max(length // int(factor), 1), length) for factor in STRENGTHS["pixelation"]])


def _filled(tables: list[np.ndarray]) -> np.ndarray:
    """Stacked, with pixels that are never read where one has fewer than another."""
    longest = max(table.shape[1] for table in tables)
    return np.stack([np.pad(table, ((0, 0), (0, longest - table.shape[1]))) for table in tables])


def _neighbours(before: int, after: int) -> np.ndarray:
    """[4, after]: the two pixels that each new one lies between, and how much of them it takes, in 2048ths."""
    places = ((np.arange(after) + 0.5) * before / after - 0.5).astype(np.float32)
    first = np.floor(places)
    part = places - first
    second = first + 1
    weights = np.rint((1 - part) * 2048), np.rint(part * 2048)
    return np.stack((first.clip(0, before - 1), second.clip(0, before - 1), *weights)).astype(np.float32)


def _to_ycc() -> np.ndarray:
    return np.array([[19595, 38470, 7471], [-11059, -21709, 32768], [32768, -27439, -5329]], dtype=np.float64)


def _to_ycc_offset() -> np.ndarray:
    centre = 128 * 65536 + 32767
    return np.array([[32768], [centre], [centre]], dtype=np.float64)


def _quantisation() -> np.ndarray:
    """The tables of luma and chroma of each quality, float64 [3, 2, 8, 8] (JPEG standard, K.1 and K.2)."""
    luma = [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
    chroma = np.full((8, 8), 99)
    chroma[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
    base = np.stack((luma, chroma))
    scaled = [(base * int(200 - 2 * quality) + 50) // 100 for quality in STRENGTHS["jpeg"]]
    return np.stack(scaled).clip(1, 255).astype(np.float64)


def _islow() -> np.ndarray:
    """The 8-point transform of libjpeg's "islow" (Loeffler, Ligtenberg and Moschytz, ICASSP 1989) in 8192ths, float64
    [frequency, sample]. Its steps are linear and round at their end only, so it is a product with a matrix; the inverse
    is the product with the transpose. Sums of constants that were rounded one by one make 10703 and 10704 of one
    number."""
    even = np.array([[8192, 8192, 8192, 8192], [10703, 4433, -4433, -10703], [8192, -8192, -8192, 8192],
                     [4433, -10704, 10704, -4433]])  # fmt: skip
    odd = np.array([[11363, 9633, 6437, 2260], [9633, -2259, -11362, -6436], [6437, -11362, 2261, 9633],
                    [2260, -6436, 9633, -11363]])  # fmt: skip
    matrix = np.empty((8, 8))
    matrix[0::2] = np.hstack((even, even[:, ::-1]))
    matrix[1::2] = np.hstack((odd, -odd[:, ::-1]))
    return matrix
