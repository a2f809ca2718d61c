"""The web page under load: many users, one of whom sends hostile files and leaves."""

import contextlib
import http.client
import io
import statistics
import threading
import time

import av
import numpy as np
import pytest
import skimage.data
from PIL import Image

from preprocessing.demo.videos import write_video
from tests.scripts.test_app import Server, form
from tests.utils.test_images import jpeg_of_scans

USERS = 20
SECONDS = 120


def grey_video(path, width, height, frames):
    """A video of grey frames, a few kilobytes each, which takes long to decode and to draw on."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, width=width, height=height, pix_fmt="yuv420p")
        stream.options = {"preset": "ultrafast", "crf": "40"}
        frame = av.VideoFrame.from_ndarray(np.full((height * 3 // 2, width), 128, np.uint8), format="yuv420p")
        for number in range(frames):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


@pytest.fixture
def server(published_checkpoint, tmp_path):
    running = Server(["--resume", published_checkpoint, "--detector", "mtcnn", "--time_limit", 20], tmp_path)
    yield running
    assert running.process.poll() is None, running.log.read_text()
    running.terminate()
    assert running.log.stat().st_size < 100_000


def leave_after(server, name, content, seconds):
    """Send a file, and close the connection after so long without an answer. Returns the status of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=seconds)
    body, kind = form([("file", name, content)])
    with contextlib.closing(connection), contextlib.suppress(OSError):
        connection.request("POST", "/", body, {"Content-Type": kind})
        return connection.getresponse().status
    return "left"


def test_users_beside_a_hostile_one(server, tmp_path, account):
    photo = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).save(photo, "JPEG")
    frames = np.stack([np.roll(skimage.data.astronaut(), 4 * shift, 1)[:224, 100:356] for shift in range(50)])
    write_video(tmp_path / "clip.mp4", frames, 25)
    files = [("a.jpg", photo.getvalue()), ("b.mp4", (tmp_path / "clip.mp4").read_bytes())]
    hostile = {
        "giant.mp4": grey_video(tmp_path / "giant.mp4", 7216, 5408, 60),
        "4k.mp4": grey_video(tmp_path / "4k.mp4", 3840, 2160, 500),
        "scans.jpg": jpeg_of_scans(20_000, progressive=True),
    }
    until = time.monotonic() + SECONDS
    took, statuses, told = [], [], []

    def user(number):
        while time.monotonic() < until:
            started = time.monotonic()
            status, answer = server.predict(*files[number % 2])
            took.append(time.monotonic() - started)
            statuses.append(status)
            assert status != 200 or answer["tracks"]

    def attacker():
        while time.monotonic() < until:
            for name, content in hostile.items():
                told.append(f"{name}: {leave_after(server, name, content, 30)}")
                leave_after(server, name, content, 2)

    threads = [threading.Thread(target=user, args=(number,)) for number in range(USERS)]
    threads.append(threading.Thread(target=attacker))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    median, longest = statistics.median(took), max(took)
    print(f"{USERS} users, {len(took)} answers in {SECONDS} s, median {median:.1f} s, longest {longest:.1f} s")
    account(f"page: {USERS} users, answers", [str(status) for status in statuses], seconds=longest)
    account("page: the hostile one", told)
    assert set(statuses) == {200}
    assert longest < 60
    assert server.files() == []


def test_a_flood_of_half_open_connections(server, account):
    import socket

    opened = []
    for _ in range(2000):
        with contextlib.suppress(OSError):
            opened.append(socket.create_connection(("127.0.0.1", server.port), timeout=5))
    time.sleep(25)
    assert server.request("/")[0] == 200, "those that stayed silent were closed"
    account("page: half-open connections", ["the page answers"], seconds=25)
    for connection in opened:
        connection.close()
