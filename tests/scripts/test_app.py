"""The web page as a process, over HTTP, as browsers and programs use it."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

import SJEDD_predict
from models.label_tree import FFPP
from prediction.web.result_page import message_html, prediction_html
from preprocessing.demo.videos import write_video
from tests.conftest import ROOT

LIMITS = ["--detector", "mtcnn", "--max_mb", 1, "--max_seconds", 2]
HOSTILE = "<img src=x onerror=alert(1)>.png"


class Server:
    """A running page, and what a program asks of it."""

    def __init__(self, arguments, folder, start=("SJEDD_app.py",), **environment):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.temporary = folder / "tmp"
        self.temporary.mkdir(exist_ok=True)
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *start, *map(str, arguments), "--port", str(self.port)],
                cwd=ROOT,
                env=os.environ | {"TMPDIR": str(self.temporary)} | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 300
        while "is ready" not in self.log.read_text():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)

    def request(self, path, data=None, kind="application/json", **headers):
        url = f"http://127.0.0.1:{self.port}{path}"
        headers |= {"Content-Type": kind} if data is not None else {}
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=300) as answer:
            return answer.read().decode()

    def upload(self, name, content):
        """The server's path of an uploaded file."""
        border = uuid.uuid4().hex
        disposition = f'Content-Disposition: form-data; name="files"; filename="{name}"'
        body = f"--{border}\r\n{disposition}\r\n\r\n".encode() + content + f"\r\n--{border}--\r\n".encode()
        return json.loads(self.request("/gradio_api/upload", body, f"multipart/form-data; boundary={border}"))[0]

    def predict(self, path):
        """(event, data) that the endpoint ends with, for a path on the server."""
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        call = json.loads(self.request("/gradio_api/call/predict", json.dumps({"data": [file]}).encode()))["event_id"]
        lines = self.request(f"/gradio_api/call/predict/{call}").splitlines()
        events = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
        data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
        return events[-1], json.loads(data[-1])

    def verdict(self, name, content):
        event, data = self.predict(self.upload(name, content))
        assert event == "complete", data
        return data[0]

    def files(self):
        """Files with content below the temporary folder."""
        return [path for path in self.temporary.rglob("*") if path.is_file() and path.stat().st_size]


def make_media(folder):
    """Name -> file: a photograph, a video of 7 frames, one of 3 s, no image, and one of more than a megabyte."""
    photo = skimage.data.astronaut()
    frames = np.stack([np.roll(photo, 4 * shift, 1)[:224, 100:356] for shift in range(7)])
    write_video(folder / "clip.mp4", frames, 15)
    write_video(folder / "long.mp4", np.repeat(frames[:1], 75, axis=0), 15)
    Image.fromarray(photo).save(folder / "one.png")
    (folder / "none.png").write_bytes(b"neither")
    (folder / "large.png").write_bytes(os.urandom(2**20 + 1))
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    return make_media(tmp_path_factory.mktemp("media"))


@pytest.fixture(scope="module")
def arguments(published_checkpoint):
    return ["--resume", published_checkpoint, *LIMITS]


@pytest.fixture(scope="module")
def server(arguments, tmp_path_factory):
    running = Server(arguments, tmp_path_factory.mktemp("app"))
    yield running
    running.process.kill()
    running.process.wait()


@pytest.mark.parametrize("name", ["one.png", "clip.mp4", "none.png"])
def test_endpoint_gives_what_the_script_writes(server, media, published_checkpoint, tmp_path, name):
    argv = ["--resume", str(published_checkpoint), "--output", str(tmp_path), "--detector", "mtcnn", "--no_pictures"]
    code = SJEDD_predict.main([*argv, "--input", str(media[name])])
    assert code == (2 if name == "none.png" else 0)
    written = json.loads((tmp_path / media[name].stem / "prediction.json").read_text())
    told = server.verdict(name, media[name].read_bytes())
    assert told.keys() == written.keys() - {"settings"}
    assert (told["input"], told["outcome"], told["reason"]) == (name, written["outcome"], written["reason"])
    assert len(told["tracks"]) == len(written["tracks"]) == (name != "none.png")
    for track, same in zip(told["tracks"], written["tracks"], strict=True):
        assert track["p_fake"] == pytest.approx(same["p_fake"], abs=1e-6)
        assert (track["state"], track["explanation"]) == (same["state"], same["explanation"])
        assert len(track["frames"]) == len(same["frames"])
    assert server.files() == []


def test_limits_are_told_and_nothing_stays(server, media):
    event, data = server.predict(server.upload("long.mp4", media["long.mp4"].read_bytes()))
    assert event == "error" and "the video has 3 s, the page takes 2 s" in json.dumps(data)
    with pytest.raises((urllib.error.HTTPError, ConnectionError, urllib.error.URLError)) as refused:
        server.upload("large.png", media["large.png"].read_bytes())
    if isinstance(refused.value, urllib.error.HTTPError):
        assert refused.value.code == 413
        refused.value.close()
    assert not [path for path in server.files() if path.stat().st_size > 2**20]


def test_users_at_the_same_time_get_their_own(server, media):
    content = {name: media[name].read_bytes() for name in ("one.png", "clip.mp4")}
    asked = ["one.png", "clip.mp4", "one.png", "clip.mp4"]
    answers = [None] * len(asked)

    def ask(number):
        answers[number] = server.verdict(asked[number], content[asked[number]])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer["input"] for answer in answers] == asked, "equal uploads, too, are each their own"
    assert [len(answer["tracks"][0]["frames"]) for answer in answers] == [1, 7, 1, 7]
    assert server.files() == []


@pytest.mark.parametrize("path", ["/etc/passwd", str(ROOT / "README.md"), "http://127.0.0.1:1/x.png", "../x"])
def test_other_files_and_addresses_are_refused(server, path):
    try:
        event, data = server.predict(path)
        assert event == "error" and "root:" not in json.dumps(data)
        assert not path.startswith("http") or "not its address" in json.dumps(data), "nothing was asked of it"
    except urllib.error.HTTPError as error:
        assert error.code in (400, 403, 422)
        error.close()
    for route in ("/gradio_api/file=", "/file="):
        assert refusal(server, route + path) == 404


def refusal(server, *request, **headers):
    """The status that a request is refused with."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.request(*request, **headers)
    refused.value.close()
    return refused.value.code


def test_the_folder_of_an_upload_is_no_file(server, media):
    mine, others = (server.upload(name, media["one.png"].read_bytes()) for name in ("mine.png", "others.png"))
    event, _ = server.predict(str(Path(mine).parent))
    assert event == "error"
    assert server.predict(others)[0] == server.predict(mine)[0] == "complete", "nobody lost anything"
    assert server.predict(mine)[0] == "error", "an answer removes the upload"


def test_only_requests_of_the_page_get_through(server, media):
    for route in ("/gradio_api/deep_link?session_hash=x", "/gradio_api/proxy=http://127.0.0.1:1/", "/monitoring"):
        assert refusal(server, route) == 404
    assert refusal(server, "/", Host="evil.example") == 403
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="x.png"\r\n\r\n' + b"x" * 700_000 + b"\r\n"
    body = part * 2 + b"--b--\r\n"
    try:
        assert refusal(server, "/gradio_api/upload", body, "multipart/form-data; boundary=b") == 413
    except urllib.error.URLError as error:  # refused while it is still sent
        assert isinstance(error.reason, ConnectionError)


def test_page_asks_nothing_of_other_hosts_and_shows_one_endpoint(server):
    page = server.request("/")
    for stranger in ("fonts.googleapis.com", "gstatic.com", "googletagmanager"):
        assert stranger not in page
    assert list(json.loads(server.request("/gradio_api/info"))["named_endpoints"]) == ["/predict"]
    assert '"analytics_enabled":false' in page.replace(" ", "")


def test_page_ends_quietly_and_leaves_nothing(arguments, media, tmp_path):
    server = Server(arguments, tmp_path)
    server.upload("one.png", media["one.png"].read_bytes())
    assert server.files()
    second = subprocess.run(
        [sys.executable, "SJEDD_app.py", *map(str, arguments), "--port", str(server.port)],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    taken = f"error: cannot listen at 127.0.0.1:{server.port} (Address already in use); give another --port\n"
    assert (second.returncode, second.stdout, second.stderr) == (2, "", taken)
    server.process.terminate()  # not SIGINT, which a shell's background jobs, and their children, ignore
    assert server.process.wait(60) == 143
    assert "Traceback" not in server.log.read_text()
    assert list(server.temporary.iterdir()) == []


def test_what_a_killed_page_left_goes_at_the_next_start(arguments, media, tmp_path):
    killed = Server(arguments, tmp_path)
    killed.upload("one.png", media["one.png"].read_bytes())
    killed.process.kill()
    killed.process.wait()
    (left,) = killed.temporary.iterdir()
    assert left.name.startswith("sjedd_app_") and killed.files()
    following = Server(arguments, tmp_path)
    assert not left.exists()
    following.process.terminate()
    assert following.process.wait(60) == 143
    assert list(killed.temporary.iterdir()) == []


NO_TUNNEL = """
import sys, SJEDD_app, gradio.networking
def tunnel(*_, **__):
    print("a tunnel", flush=True)
    return "https://page.example"
gradio.networking.setup_tunnel = tunnel
sys.exit(SJEDD_app.main(sys.argv[1:]))
"""


def test_no_environment_opens_the_page_to_the_public(arguments, tmp_path):
    server = Server(arguments, tmp_path, ("-c", NO_TUNNEL), GRADIO_SHARE="true", KAGGLE_KERNEL_RUN_TYPE="Interactive")
    server.process.terminate()
    server.process.wait(60)
    assert "a tunnel" not in server.log.read_text()


OTHER_GRADIOS = """
import json, sys, SJEDD_app
from unittest.mock import patch
import gradio.blocks, gradio.processing_utils, gradio.route_utils
for owner, name in (
    (gradio.blocks.Block, "async_move_resource_to_block_cache"),
    (gradio.processing_utils, "async_move_files_to_cache"),
    (gradio.route_utils, "GradioUploadFile"),
    (gradio.route_utils, "GradioMultiPartParser"),
):
    with patch.object(owner, name):
        delattr(owner, name)
        print(SJEDD_app.main(sys.argv[1:]))
with patch("gradio.processing_utils.async_move_files_to_cache", json.dumps):
    print(SJEDD_app.main(sys.argv[1:]))
"""


def test_a_gradio_that_is_built_differently_is_refused(arguments):
    command = [sys.executable, "-c", OTHER_GRADIOS, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert done.stdout.split() == ["2"] * 5 and len(lines) == 5
    assert all("is built differently" in line and "pip install gradio==" in line for line in lines), lines


WATCHED = """
import socket, sys
look_up = socket.getaddrinfo
def watched(host, *rest, **named):
    print("asked", host.decode() if isinstance(host, bytes) else host, flush=True)
    if host != "127.0.0.1":
        raise socket.gaierror(socket.EAI_NONAME, "no internet in tests")
    return look_up(host, *rest, **named)
socket.getaddrinfo = watched
exec(sys.argv[1])
print("outcome", prediction["outcome"])
"""


def test_the_example_for_programs_asks_nothing_of_other_hosts(server, media):
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text().split("### 7. ")[1], re.DOTALL)[1]
    code = example.replace(":7860", f":{server.port}").replace("clip.mp4", str(media["clip.mp4"]))
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, code],
        env={name: value for name, value in os.environ.items() if not re.search("OFFLINE|TELEMETRY|TRACK", name)},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[-1][0] == "outcome"
    assert {line[1] for line in lines if line[0] == "asked"} == {"127.0.0.1"}


def test_hostile_names_and_reasons_are_text(tmp_path):
    prediction = {"input": f"/x/{HOSTILE}", "outcome": "unreadable", "p_fake": None, "tracks": [], "reason": HOSTILE}
    for page in (prediction_html(prediction, tmp_path, FFPP.nodes, FFPP.edges), message_html(HOSTILE)):
        assert "<img" not in page and "&lt;img src=x" in page


def test_regions_are_marked_only_below_a_named_attribute(tmp_path):
    nodes = {name: 0.9 if name in ("fake", "identity", "lip") else 0.1 for name in FFPP.nodes}
    track = {"outcome": "fake", "p_fake": 0.9, "p_fake_calibrated": 0.6, "nodes": nodes, "frames": [{}],
             "state": ["fake", "identity", "lip"], "explanation": "Fake."}  # fmt: skip
    prediction = {"input": "x.png", "outcome": "fake", "p_fake": 0.9, "tracks": [track], "reason": None}
    page = prediction_html(prediction, tmp_path, FFPP.nodes, FFPP.edges)
    assert page.count('class="node on"') == 3, "fake, identity, and lip below identity alone"
    assert "P(fake) 0.60" in page and "<span>0.60</span>" in page, "all are calibrated alike"
    assert page.count("<span>lip</span>") == sum("lip" in children for children in FFPP.edges.values()) > 1


def test_abandoned_uploads_are_swept(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x.png").write_bytes(b"x")
    (tmp_path / "y").write_bytes(b"y")
    code = "import pathlib, sys, SJEDD_app\nfor seconds in (1000, -1):\n"
    code += (
        " SJEDD_app.sweep(pathlib.Path(sys.argv[1]), seconds); print(len(list(pathlib.Path(sys.argv[1]).iterdir())))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["2", "0"]
