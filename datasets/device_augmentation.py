"""The training augmentation and resize of a whole batch on the training device: --augment_on device.

Pure functions of tensors that give what ``augmentation`` and ``transforms.resize`` give on the CPU, to the bit where
PIL, OpenCV and libjpeg compute as they do here; noise has the same distribution and other draws. Nearly everything is a
product with a small matrix, made once for each device and size of crops: a batch takes few kernels, and the host never
waits for the device. All sums are of whole numbers that float32 holds exactly, or float64 where they are larger.

Images are float32 [n, 3, H, W], RGB, with the whole numbers 0 to 255, unless a function says otherwise.
"""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional

from datasets.augmentation import KINDS, STRENGTHS
from datasets.raw_frames import RawBatch, SizeGroup
from datasets.transforms import FROM_YCBCR
from utils.devices import exact_products

_BITS = 22  # of the fractions of PIL's resampling coefficients


def augmented(batch: RawBatch, size: int, device: torch.device) -> torch.Tensor:
    """The perturbed and resized images of a batch on ``device``, uint8 [B, 3, size, size] RGB, in the batch's order."""
    with exact_products():
        resized = torch.cat([resize(perturb(group, device), size) for group in batch.groups])
    return resized[batch.order.to(device, non_blocking=True)].to(torch.uint8)


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
    deviations = _tensor(_deviations, images.device)[strengths].view(-1, 1, 1)
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
    """Each pixel between four. rows, columns: see ``_neighbours``, of each image, [n, 2, h, H] and [n, 2, w, W]."""
    across = (images @ columns.sum(1).transpose(1, 2)[:, None]).mul_(1 / 16).floor_().double()
    above, below = (rows.flatten(1, 2)[:, None].double() @ across).mul_(1 / 65536).floor_().chunk(2, dim=2)
    return above.add_(below).add_(2).mul_(1 / 4).floor_().float()


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
    """The sum of two parts, one of whole 2^-11ths and one of 2^-22ths, to the nearest grey level."""
    return low.double().add_(high).add_(0.5).floor_().clamp_(0, 255).float()


def jpeg(images: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    """Encoded as baseline JPEG of the quality STRENGTHS["jpeg"][strength] and decoded, in libjpeg's whole numbers: its
    colour conversion, 4:2:0, its "islow" transforms, the standard tables, its "fancy" upsampling."""
    height, width = images.shape[2:]
    padded = functional.pad(images, (0, -width % 16, 0, -height % 16), mode="replicate").double()
    ycc = (_tensor(_to_ycc, images.device) @ padded.flatten(2)).add_(_tensor(_to_ycc_offset, images.device)).floor_()
    ycc = ycc.view_as(padded)
    # The mean of 2 x 2, rounded up and down by turns along a row. Rows are filled up after it, columns before.
    chroma = ycc[:, 1:, : height + height % 2].unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5))
    chroma = chroma.add_(_tensor(_turns, images.device, chroma.shape[3])).floor_()
    chroma = functional.pad(chroma, (0, 0, 0, -chroma.shape[2] % 8), mode="replicate")
    luma, chroma = _coded(ycc[:, :1], chroma, _tensor(_quantisation, images.device)[strengths])
    chroma = chroma[:, :, : -(-height // 2), : -(-width // 2)] - 128
    rows, columns = (_tensor(_fancy, images.device, length) for length in (height, width))
    chroma = (rows @ (chroma @ columns.T)).add_(_tensor(_turns_up, images.device, width)).floor_()
    colour = (_tensor(_from_ycc, images.device) @ chroma.flatten(2)).add_(0.5).floor_().view_as(images)
    return colour.add_(luma[:, :, :height, :width]).clamp_(0, 255).float()


def _coded(luma: torch.Tensor, chroma: torch.Tensor, tables: torch.Tensor) -> list[torch.Tensor]:
    """Planes [n, 1, H, W] and [n, 2, h, w] through the transform of their 8 x 8 blocks, quantisation and back, float64.
    tables: of luma and chroma, [n, 2, 8, 8]."""
    planes = luma, chroma
    blocks = [plane.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).transpose(3, 4) for plane in planes]
    shapes = [block.shape for block in blocks]  # [n, planes, blocks down, blocks across, y, x]
    blocks = [block.flatten(1, 3) for block in blocks]
    counts = [block.shape[1] for block in blocks]
    divisors = torch.cat([tables[:, i : i + 1].expand(-1, counts[i], -1, -1) for i in (0, 1)], dim=1).transpose(2, 3)
    transform = _tensor(_islow, luma.device)
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


# The constants. Each is made on the CPU, and once on a device.


@functools.lru_cache(maxsize=256)  # crops of many sizes have matrices of their own each
def _tensor(make: Callable[..., np.ndarray], device: torch.device, *arguments: int) -> torch.Tensor:
    return torch.from_numpy(make(*arguments)).to(device)


def _by_strength(what: str, length: int, device: torch.device) -> torch.Tensor:
    """The matrices of both strengths for a side of ``length``, float32 [2, ...]."""
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
    matrix /= 2**_BITS
    high = np.rint(matrix * 2 ** (_BITS // 2)) / 2 ** (_BITS // 2)
    return np.concatenate((high, matrix - high)).astype(np.float32)


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
    """Stacked, with pixels of nothing where one factor leaves fewer than another."""
    sides = [max(table.shape[axis] for table in tables) for axis in (1, 2)]
    return np.stack([np.pad(t, ((0, 0), (0, sides[0] - t.shape[1]), (0, sides[1] - t.shape[2]))) for t in tables])


def _neighbours(before: int, after: int) -> np.ndarray:
    """[2, after, before]: how much each new pixel takes of the one before it, and of the one behind it, in 2048ths."""
    places = ((np.arange(after) + 0.5) * before / after - 0.5).astype(np.float32)
    first = np.floor(places)
    part = places - first
    matrices = np.zeros((2, after, before), dtype=np.float32)
    for matrix, place, share in zip(matrices, (first, first + 1), (1 - part, part), strict=True):
        matrix[np.arange(after), place.clip(0, before - 1).astype(int)] = np.rint(share * 2048)
    return matrices


def _to_ycc() -> np.ndarray:
    return np.array([[19595, 38470, 7471], [-11059, -21709, 32768], [32768, -27439, -5329]]) / 65536


def _to_ycc_offset() -> np.ndarray:
    return np.array([[0.5], [128 + 32767 / 65536], [128 + 32767 / 65536]])


def _from_ycc() -> np.ndarray:
    """[red, green, blue] by [Cb, Cr], about grey."""
    return np.array([[0, 91881], [-22554, -46802], [116130, 0]]) / 65536


def _turns(length: int) -> np.ndarray:
    return (1 + np.arange(length) % 2) / 4


def _fancy(length: int) -> np.ndarray:
    """[length, half as long]: three parts of the nearest pixel and one of the next, in quarters."""
    half = -(-length // 2)
    matrix, i = np.zeros((length, half)), np.arange(length)
    matrix[i, i // 2] = 0.75
    np.add.at(matrix, (i, (i // 2 - 1 + 2 * (i % 2)).clip(0, half - 1)), 0.25)
    return matrix


def _turns_up(length: int) -> np.ndarray:
    return (8 - np.arange(length) % 2) / 16


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
