"""Decode chosen frames of a video by PyAV: exact frame numbers, upright, square pixels, RGB.

A frame's number counts the pictures of the stream in the order in which they are shown, from 0. Frames are decoded one
after the other, and only the wanted ones become RGB. What cannot be decoded keeps its number and is left out.
"""

import contextlib
import functools
import gc
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from datasets.records import evenly_spaced_indices
from preprocessing.extraction.animations import is_animation, number_of_pictures, picture_size, pictures
from preprocessing.extraction.hdr import TRANSFERS, to_sdr
from utils.video_writer import rgb_frame

# Containers alone: playlists (HLS, concat) would play other files, or addresses, than the one that is opened.
_OPTIONS = {
    "format_whitelist": "mov,matroska,webm,avi,flv,mpeg,mpegts,mpegvideo,m4v,asf,gif,apng,ogg,h264,hevc,mjpeg,ivf,mxf,"
    "dv,nut,rm,yuv4mpegpipe",
    "protocol_whitelist": "file",
}
# Codecs in which each packet holds one picture, so that the packets' times number the pictures.
_ONE_PICTURE_A_PACKET = {"h264", "hevc", "vp9", "libvpx-vp9", "av1", "libdav1d", "prores", "mjpeg", "gif", "apng"}
# Text of a file that is not UTF-8 (a title, say) must not end the reading; from PyAV 19 on it never does.
_METADATA = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
_COVER = av.stream.Disposition.attached_pic  # of sound
_PHOTOGRAPHS = {"heic", "heix", "heim", "heis", "mif1", "avif"}  # brands of single pictures
MAX_PIXELS = 40_000_000  # of a frame: sixteen frames of 40 million, of a file of a few kilobytes, take 2 GB
# FFmpeg's numbers of the matrices between RGB and YUV, in streams.
_BT709, _UNKNOWN, BT601 = 1, 2, 6
_MATRICES = {_BT709, _UNKNOWN, 5, BT601}  # 5 is BT.601 too
_LARGEST_ASPECT = 16  # of a pixel; more is damage


class VideoError(Exception):
    """A video that gives no frames.

    Args:
        code: missing, unreadable or no_frames.
        path: The video.
        reason: What is wrong; the message is path and reason.
    """

    def __init__(self, code: str, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.code = code


class _Timeline(NamedTuple):
    """The times of a video's frames, in units of ``seconds``."""

    pts: Sequence[int] | None  # of each frame, in the order of showing; None if only decoding tells
    keys: Sequence[int]  # of the key frames; empty if only decoding tells
    seconds: Fraction


@contextlib.contextmanager
def _open(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """The container and its stream of moving pictures. Raises VideoError."""
    path = Path(path)
    if not path.is_file():
        raise VideoError("missing", path, "there is no such file")
    try:
        container = av.open(f"file:{path.absolute()}", options=_OPTIONS, **_METADATA)
    except av.DecoderNotFoundError as error:
        raise VideoError("unreadable", path, f"no decoder for it in this PyAV ({error})") from error
    except (av.FFmpegError, ValueError) as error:
        raise VideoError("unreadable", path, f"not a video that FFmpeg can open ({_reason(error)})") from error
    with container:
        videos = [stream for stream in container.streams.video if not stream.disposition & _COVER]
        if not videos or container.metadata.get("major_brand", "").strip() in _PHOTOGRAPHS:
            raise VideoError("unreadable", path, "it holds no moving picture")
        best = container.streams.best("video")
        stream = best if best in videos else videos[0]
        if stream.codec_context is None:
            raise VideoError("unreadable", path, "this PyAV has no decoder for it")
        stream.thread_type = "AUTO"
        _refuse_giant(path, stream.width, stream.height)
        yield container, stream


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _refuse_giant(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise VideoError("unreadable", path, f"frames of {width}x{height} px, more than {MAX_PIXELS:,} pixels")


def _timeline(path: Path) -> _Timeline:
    status = Path(path).stat() if Path(path).is_file() else None
    return _read_timeline(path, status and (status.st_size, status.st_mtime_ns))


@functools.lru_cache(maxsize=4)
def _read_timeline(path: Path, _version: tuple[int, int] | None) -> _Timeline:
    """Read all packets, without decoding them."""
    with _open(path) as (container, stream):
        known = stream.codec_context.name in _ONE_PICTURE_A_PACKET
        # The packets themselves would be the whole file.
        times = [(p.pts, p.is_keyframe) for p in _packets(container, stream) if p.size and not p.is_discard]
        seconds = stream.time_base or Fraction(1, 25)
    pts = {time for time, _ in times if time is not None}
    if not known or len(pts) < len(times):
        return _Timeline(None, [], seconds)
    return _Timeline(sorted(pts), sorted(time for time, is_key in times if is_key and time is not None), seconds)


def _packets(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
    """All packets of a stream, the last one empty (it flushes the decoder); a container's damage ends it."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.FFmpegError:
            yield av.Packet()
            return
        yield packet


def _numbered(
    container: av.container.InputContainer, stream: av.VideoStream, timeline: _Timeline
) -> Iterator[tuple[int, av.VideoFrame]]:
    """(number, frame as it is stored) of all frames that decode completely.

    After a damaged packet the decoder patches what it cannot know; nothing is taken before the next key frame.
    """
    numbers = None if timeline.pts is None else {pts: number for number, pts in enumerate(timeline.pts)}
    count, resume = 0, None
    inside: set[int] = set()  # pts of the packets whose frames are not out yet: threads report errors late
    for packet in _packets(container, stream):
        try:
            if packet.pts is not None:
                inside.add(packet.pts)
            frames = stream.decode(packet)
        except av.FFmpegError:
            count += 1
            lost = min(inside, default=packet.pts)
            resume = None if lost is None else next((key for key in timeline.keys if key > lost), None)
            inside.clear()
            continue
        for frame in frames:
            number = count if numbers is None else numbers.get(frame.pts)
            count += 1
            inside.discard(frame.pts)
            if number is not None and not frame.is_corrupt and (resume is None or frame.pts >= resume):
                yield number, frame


def count_frames(path: Path, decode: bool = False) -> int:
    """The number of frames of a video.

    Args:
        path: The video.
        decode: Count what decodes instead of what the container holds (as slow as reading the video).

    Raises:
        VideoError: If it cannot be opened or holds no frame.
    """
    if is_animation(path):
        return sum(1 for _ in pictures(path)) if decode else number_of_pictures(path)
    timeline = _timeline(path)
    count = 0 if timeline.pts is None else len(timeline.pts)
    if decode or timeline.pts is None:
        with _open(path) as (container, stream):
            count = 1 + max((number for number, _ in _numbered(container, stream, timeline)), default=-1)
    if count < 1:
        raise VideoError("no_frames", path, "no frame of it can be decoded")
    return count


def frame_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels that a video's header tells. Raises VideoError."""
    if is_animation(path):
        return picture_size(path)
    with _open(path) as (_, stream):
        return stream.width, stream.height


def frame_rate(path: Path) -> float:
    """Frames a second, on average; 25 where the video does not say or says something absurd. Raises VideoError."""
    if is_animation(path):
        times = [seconds for _, seconds in pictures(path)]
        return (len(times) - 1) / times[-1] if times and times[-1] else 25.0
    with _open(path) as (_, stream):
        rate = float(stream.average_rate or stream.guessed_rate or 0)
    return rate if 0.1 <= rate <= 1000 else 25.0


def frame_times(path: Path, count: int) -> list[float]:
    """When each of ``count`` frames is shown, in seconds after the first one. Raises VideoError."""
    if is_animation(path):
        return [seconds for _, seconds in pictures(path)][:count]
    timeline = _timeline(path)
    if timeline.pts is None or len(timeline.pts) < count:
        rate = frame_rate(path)
        return [number / rate for number in range(count)]
    return [float((pts - timeline.pts[0]) * timeline.seconds) for pts in timeline.pts[:count]]


def frame_indices(count: int, wanted: int | None) -> Sequence[int]:
    """The frames to take from ``count``: ``wanted`` of them evenly from first to last, duplicates once; None = all."""
    return range(count) if wanted is None else evenly_spaced_indices(count, wanted)


class Picture(NamedTuple):
    """A decoded frame, upright, deinterlaced, with square pixels; HDR as SDR. Both functions raise VideoError."""

    rgb: Callable[[], np.ndarray]  # makes [H, W, 3] uint8 RGB
    planes: Callable[[], list[np.ndarray]]  # makes Y [H, W], U and V [H / 2, W / 2] uint8, odd sides padded by one


def picture_of(frame: np.ndarray) -> Picture:
    """An RGB frame as a ``Picture``."""
    return Picture(lambda: frame, functools.partial(yuv_planes, frame))


def read_frames(path: Path, indices: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Read the wanted frames of a video as RGB, see ``read_pictures``.

    Yields:
        (number, frame [H, W, 3] uint8 RGB).
    """
    return ((number, picture.rgb()) for number, picture in read_pictures(path, indices))


def read_pictures(path: Path, indices: Iterable[int]) -> Iterator[tuple[int, Picture]]:
    """Read the wanted frames of a video, in rising order.

    All frames have the size of the first decoded one; one of another size is fitted into it with black bars.

    Args:
        path: The video.
        indices: Numbers of the wanted frames. One that cannot be decoded or lies behind the end is left out.

    Yields:
        (number, frame). Convert it before you ask for the next one.

    Raises:
        VideoError: If the video cannot be opened.
    """
    wanted = indices if isinstance(indices, range) else set(indices)
    if not wanted:
        return
    if is_animation(path):
        for number, (frame, _) in enumerate(pictures(path)):
            if number in wanted:
                yield number, picture_of(frame)
        return
    last, canvas, matrix = max(wanted), None, (1, 0, 0, 1)
    with _open(path) as (container, stream):
        for number, frame in _progressive(_numbered(container, stream, _timeline(path)), stream):
            if canvas is None:
                matrix = _display_matrix(frame)
                canvas = _upright(path, frame, stream, matrix).shape[:2]
            if number in wanted:
                arguments = path, frame, stream, matrix, canvas
                yield number, Picture(functools.partial(_rgb, *arguments), functools.partial(_planes, *arguments))
            if number >= last:
                break
    gc.collect(0)  # a frame whose side data was read is part of a cycle, which holds its pixels


def _progressive(
    frames: Iterable[tuple[int, av.VideoFrame]], stream: av.VideoStream
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Deinterlace from the first interlaced frame on; the filter looks at a frame's neighbours and is one behind."""
    graph, size, inside = None, None, deque()
    for number, frame in frames:
        if graph and size != (frame.width, frame.height):
            yield from _through(graph, None, inside)
            graph = None
        if graph is None and frame.interlaced_frame:
            graph, size = _deinterlacer(stream, frame), (frame.width, frame.height)
        if graph is None:
            yield number, frame
        else:
            inside.append(number)
            yield from _through(graph, frame, inside)
    if graph:
        yield from _through(graph, None, inside)


def _deinterlacer(stream: av.VideoStream, frame: av.VideoFrame) -> av.filter.Graph:
    """FFmpeg's bwdif: one frame out for one frame in."""
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=stream.time_base)
    bwdif = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    source.link_to(bwdif)
    bwdif.link_to(graph.add("buffersink"))
    graph.configure()
    return graph


def _through(
    graph: av.filter.Graph, frame: av.VideoFrame | None, inside: deque[int]
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Push a frame, or None for the end, and pull what is ready. inside: numbers of the frames in the graph."""
    graph.push(frame)
    with contextlib.suppress(av.BlockingIOError, av.EOFError):
        while True:
            made = graph.pull()
            yield inside.popleft(), made


def _rgb(
    path: Path, frame: av.VideoFrame, stream: av.VideoStream, matrix: Sequence[int], canvas: tuple[int, int]
) -> np.ndarray:
    return _fitted(_upright(path, frame, stream, matrix), canvas)


def _planes(
    path: Path, frame: av.VideoFrame, stream: av.VideoStream, matrix: Sequence[int], canvas: tuple[int, int]
) -> list[np.ndarray]:
    width, height = _square_pixels(path, frame, stream)
    same_size = (height, width) in (canvas, canvas[::-1])
    if not same_size or width % 2 or height % 2 or frame.color_trc in TRANSFERS or frame.colorspace not in _MATRICES:
        return yuv_planes(_rgb(path, frame, stream, matrix, canvas), _colour_matrix(stream))
    with _converting(path):
        values = frame.to_ndarray(width=width, height=height, format="yuv420p")
    return [np.ascontiguousarray(_turned(plane, matrix)) for plane in _split(values)]


def colour_matrix(path: Path) -> int:
    """FFmpeg's number of the matrix that the video's ``Picture.planes`` have, one of _MATRICES. Raises VideoError."""
    if is_animation(path):
        return BT601
    with _open(path) as (_, stream):
        return _colour_matrix(stream)


def _colour_matrix(stream: av.VideoStream) -> int:
    stored = stream.codec_context.colorspace
    return BT601 if stream.codec_context.color_trc in TRANSFERS or stored not in _MATRICES else stored


def yuv_planes(frame: np.ndarray, matrix: int = BT601) -> list[np.ndarray]:
    """The planes of an RGB frame, see ``Picture``. matrix: one of _MATRICES."""
    return _split(rgb_frame(frame).to_ndarray(format="yuv420p", dst_colorspace=1 if matrix == _BT709 else 5))


def _split(values: np.ndarray) -> list[np.ndarray]:
    """Y, U and V of PyAV's array [3 H / 2, W] for yuv420p."""
    height, width = values.shape[0] * 2 // 3, values.shape[1]
    return [values[:height], *values[height:].reshape(2, height // 2, width // 2)]


def _square_pixels(path: Path, frame: av.VideoFrame, stream: av.VideoStream) -> tuple[int, int]:
    """(width, height) of a stored frame with square pixels."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    aspect = aspect if Fraction(1, _LARGEST_ASPECT) <= aspect <= _LARGEST_ASPECT else Fraction(1)
    width, height = round(frame.width * max(aspect, 1)), round(frame.height / min(aspect, 1))
    _refuse_giant(path, width, height)
    return width, height


@contextlib.contextmanager
def _converting(path: Path) -> Iterator[None]:
    try:
        yield
    except (av.FFmpegError, ValueError) as error:
        raise VideoError("unreadable", path, f"a frame cannot be converted ({_reason(error)})") from error


def _upright(path: Path, frame: av.VideoFrame, stream: av.VideoStream, matrix: Sequence[int]) -> np.ndarray:
    """A stored frame as it is to be seen: [H, W, 3] uint8 RGB."""
    width, height = _square_pixels(path, frame, stream)
    with _converting(path):
        if frame.color_trc in TRANSFERS:
            picture = to_sdr(frame.to_ndarray(width=width, height=height, format="rgb48le"), frame.color_trc)
        else:
            picture = frame.to_ndarray(width=width, height=height, format="rgb24")
    return np.ascontiguousarray(_turned(picture, matrix))


def _display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """(a, b, c, d) of the matrix by which (x, y) is shown at (a x + c y, b x + d y)."""
    data = frame.side_data.get(av.sidedata.sidedata.Type.DISPLAYMATRIX)
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    return a, b, c, d


def _turned(picture: np.ndarray, matrix: Sequence[int]) -> np.ndarray:
    """Turned by quarters and mirrored; other angles are taken as the nearest quarter."""
    a, b, c, d = matrix
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture, a, d = picture.swapaxes(0, 1), c, b
    picture = picture[:, ::-1] if a < 0 else picture
    return picture[::-1] if d < 0 else picture


def _fitted(picture: np.ndarray, canvas: tuple[int, int]) -> np.ndarray:
    """A picture in the middle of a black one of size ``canvas``, as large as fits, its aspect kept."""
    if picture.shape[:2] == canvas:
        return picture
    factor = min(canvas[0] / picture.shape[0], canvas[1] / picture.shape[1])
    height, width = (
        min(side, max(1, round(length * factor))) for side, length in zip(canvas, picture.shape, strict=False)
    )
    made = np.zeros((*canvas, 3), np.uint8)
    top, left = (canvas[0] - height) // 2, (canvas[1] - width) // 2
    made[top : top + height, left : left + width] = cv2.resize(
        picture, (width, height), interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    )
    return made
