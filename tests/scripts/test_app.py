"""The web page as a process, over HTTP, as browsers and programs use it."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid

import numpy as np
import pytest
import skimage.data
from PIL import Image

import SJEDD_app
import SJEDD_predict
from preprocessing.demo.videos import write_video
from tests.conftest import ROOT

LIMITS = ["--detector", "mtcnn", "--max_mb", 1, "--max_seconds", 2]
HOSTILE = "<img src=x onerror=alert(1)>.png"


def form(files=(), **fields):
    """(body, content type) of a multipart form; files: (field, name, content)."""
    border = uuid.uuid4().hex
    parts = [f'name="{name}"\r\n\r\n{value}'.encode() for name, value in fields.items()]
    parts += [f'name="{field}"; filename="{name}"\r\n\r\n'.encode() + content for field, name, content in files]
    body = b"".join(f"--{border}\r\nContent-Disposition: form-data; ".encode() + part + b"\r\n" for part in parts)
    return body + f"--{border}--\r\n".encode(), f"multipart/form-data; boundary={border}"


class Server:
    """A running page, and what a program asks of it."""

    def __init__(self, arguments, folder, start=("SJEDD_app.py",)):
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
                # PyTorch makes a folder for its compiler's cache, which stays empty.
                env=os.environ | {"TMPDIR": str(self.temporary), "TORCHINDUCTOR_CACHE_DIR": str(folder / "compiled")},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 300
        while "is ready" not in self.log.read_text():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)

    def request(self, path, body=None, kind=None, **headers):
        """(status, text) of the answer."""
        url = f"http://127.0.0.1:{self.port}{path}"
        headers |= {"Content-Type": kind} if kind else {}
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=300) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def predict(self, name, content):
        """(status, content) of the endpoint's answer to a file."""
        status, text = self.request("/predict", *form([("file", name, content)]))
        return status, json.loads(text)

    def files(self):
        """Files with content below the temporary folder."""
        return [path for path in self.temporary.rglob("*") if path.is_file() and path.stat().st_size]

    def asked_in_vain(self, content):
        """Upload a video in a thread; returns when the upload has arrived."""

        def ask():
            with contextlib.suppress(OSError):  # the server is ended
                self.predict("clip.mp4", content)

        threading.Thread(target=ask, daemon=True).start()
        deadline = time.monotonic() + 60
        while not self.files():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def terminate(self):
        """End the page as `kill` does; its exit code. Not by SIGINT, which a shell's background jobs ignore."""
        self.process.terminate()
        return self.process.wait(60)


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


# Runs the page and tells every host that it looks up or connects to.
WATCHED = """
import socket, sys
def told(name, function):
    def watched(*args, **named):
        address = next(arg for arg in args if not isinstance(arg, socket.socket))
        print("asked", address[0] if isinstance(address, tuple) else address, flush=True)
        return function(*args, **named)
    return watched
socket.getaddrinfo = told("getaddrinfo", socket.getaddrinfo)
class Watched(socket.socket):
    connect = told("connect", socket.socket.connect)
    connect_ex = told("connect_ex", socket.socket.connect_ex)
socket.socket = Watched
import SJEDD_app
sys.exit(SJEDD_app.main())
"""


@pytest.fixture(scope="module")
def server(arguments, media, tmp_path_factory):
    running = Server([*arguments, "--samples", media["one.png"]], tmp_path_factory.mktemp("app"), ("-c", WATCHED))
    yield running
    running.process.kill()
    running.process.wait()
    asked = set(re.findall(r"^asked (.*)$", running.log.read_text(), re.MULTILINE))
    assert asked == {"127.0.0.1"}, "the page asks nothing of other hosts"


@pytest.mark.parametrize("name", ["one.png", "clip.mp4", "none.png"])
def test_endpoint_gives_what_the_script_writes(server, media, published_checkpoint, tmp_path, name):
    argv = ["--resume", str(published_checkpoint), "--output", str(tmp_path), "--detector", "mtcnn", "--no_pictures"]
    code = SJEDD_predict.main([*argv, "--input", str(media[name])])
    assert code == (2 if name == "none.png" else 0)
    written = json.loads((tmp_path / media[name].stem / "prediction.json").read_text())
    status, told = server.predict(name, media[name].read_bytes())
    assert status == 200 and told.keys() == written.keys() - {"settings"}
    assert (told["input"], told["outcome"], told["reason"]) == (name, written["outcome"], written["reason"])
    assert len(told["tracks"]) == len(written["tracks"]) == (name != "none.png")
    for track, same in zip(told["tracks"], written["tracks"], strict=True):
        assert track["p_fake"] == pytest.approx(same["p_fake"], abs=1e-6)
        assert (track["state"], track["explanation"]) == (same["state"], same["explanation"])
        assert len(track["frames"]) == len(same["frames"])
    assert server.files() == []


def test_the_documented_command_works(server, media):
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    command = re.search(r"^curl .*$", SJEDD_app.__doc__, re.MULTILINE)[0]
    command = command.replace(":7860", f":{server.port}").replace("clip.mp4", str(media["one.png"]))
    done = subprocess.run(command.split(), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["tracks"]


def test_limits_are_told_and_nothing_stays(server, media):
    status, answer = server.predict("long.mp4", media["long.mp4"].read_bytes())
    assert status == 413 and "the video has 3 s, the page takes 2 s" in answer["error"]
    status, answer = server.predict("large.png", media["large.png"].read_bytes())
    assert status == 413 and answer["error"].startswith("the file is larger than 1 MB; cut it")
    assert server.files() == []


def test_users_at_the_same_time_get_their_own(server, media):
    content = {name: media[name].read_bytes() for name in ("one.png", "clip.mp4")}
    asked = ["one.png", "clip.mp4", "one.png", "clip.mp4"]
    answers = [None] * len(asked)

    def ask(number):
        _, answers[number] = server.predict(asked[number], content[asked[number]])

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
    for field in ("file", "sample"):
        status, text = server.request("/predict", *form(**{field: path}))
        assert status == 400 and "root:" not in text
    status, answer = server.predict(path, b"no image")
    assert (status, answer["input"], answer["outcome"]) == (200, path, "unreadable"), "a name is only a name"
    assert server.request(f"/{path}")[0] == 404


def test_the_form_works_with_and_without_script(server, media):
    status, page = server.request("/")
    assert status == 200 and "<option>one.png</option>" in page
    assert not re.search(r'(?:src|href|action)="(?!/|data:)', page) and "://" not in page, "nothing of other hosts"
    upload = form([("file", "clip.mp4", media["clip.mp4"].read_bytes())], sample="one.png")
    status, whole = server.request("/", *upload)
    assert status == 200 and whole.startswith("<!doctype html>") and "<form" in whole
    assert "clip.mp4</p>" in whole and "P(fake) over time" in whole and "data:video/mp4" in whole, "the upload counts"
    assert whole.count('alt="heat map of ') == whole.count('<a class="node') == 10
    status, text = server.request("/", *form([("file", "", b"")], sample="one.png", job="a"), Accept="application/json")
    part = json.loads(text)["html"]
    assert status == 200 and "<form" not in part and "one.png</p>" in part and "over time" not in part
    assert "data:image/jpeg" in part and "seen in" not in part
    status, text = server.request("/", *form([("file", "", b"")], sample=""))
    assert status == 400 and "Choose a photograph or a video first." in text
    status, text = server.request("/", *form(sample="two.png"), Accept="application/json")
    assert status == 400 and json.loads(text) == {"error": "choose a photograph or a video first"}
    assert server.files() == []


def test_only_requests_of_the_page_get_through(server, media):
    for route in ("/docs", "/predict/x", "/page.html", "/../page.js", "/progress/"):
        assert server.request(route)[0] == 404
    assert server.request("/predict")[0] == 405
    assert server.request("/", Host="evil.example")[0] == 403
    photo = form([("file", "one.png", media["one.png"].read_bytes())])
    assert server.request("/predict", *photo, Origin="http://evil.example")[0] == 403
    assert server.request("/predict", *photo, Origin="null")[0] == 403
    assert server.request("/predict", *photo, Origin=f"http://127.0.0.1:{server.port}")[0] == 200
    two = [("file", "x.png", b"x" * 700_000)] * 2
    assert server.request("/predict", *form(two))[0] == 413
    assert server.request("/", *form(two))[0] == 413
    assert server.request("/predict", *form([("file", "x.png", b"x")] * 2))[0] == 400
    assert server.request("/predict", *form(file="x" * 20_000))[0] == 400
    assert server.request("/predict", b"no form", "multipart/form-data; boundary=x")[0] == 400
    assert server.request("/predict", b"no form", "text/plain")[0] == 400
    assert server.request("/predict", iter([b"x"]), "text/plain")[0] == 411


def test_pages_leave_nothing_even_when_killed(arguments, media, tmp_path):
    killed = Server(arguments, tmp_path)
    killed.asked_in_vain(media["clip.mp4"].read_bytes())
    killed.process.kill()
    killed.process.wait()
    (left,) = killed.temporary.iterdir()
    assert left.name.startswith("sjedd_app_") and killed.files()
    following = Server(arguments, tmp_path)
    assert not left.exists()
    second = subprocess.run(
        [sys.executable, "SJEDD_app.py", *map(str, arguments), "--port", str(following.port)],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    taken = (
        f"error: cannot listen at 127.0.0.1:{following.port} (Address already in use); give another --host or --port\n"
    )
    assert (second.returncode, second.stdout, second.stderr) == (2, "", taken)
    following.asked_in_vain(media["clip.mp4"].read_bytes())
    assert following.terminate() == 143
    assert "Traceback" not in following.log.read_text()
    assert list(following.temporary.iterdir()) == []


@pytest.mark.parametrize("package", ["uvicorn", "python_multipart"])
def test_a_missing_package_is_one_clear_line(package):
    code = f"import sys; sys.modules['{package}'] = None; import SJEDD_app; sys.exit(SJEDD_app.main())"
    command = [sys.executable, "-c", code, "--resume", "x"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"error: the page needs {package}; pip install -r requirements-app.txt\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "no.such.host.invalid"], "cannot listen at no.such.host.invalid:7860"),
        (["--host", "192.0.2.1"], "cannot listen at 192.0.2.1:7860 (Cannot assign requested address)"),
        (["--samples", "missing_folder.txt"], "cannot read the list missing_folder.txt"),
    ],
)
def test_bad_arguments_are_one_clear_line(capsys, arguments, message):
    assert SJEDD_app.main(["--resume", "x", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
