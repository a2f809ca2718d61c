"""The web page in this process, with a prediction that a test controls."""

import base64
import contextlib
import http.client
import json
import re
import socket
import threading
import time
from types import SimpleNamespace

import pytest
import uvicorn
from starlette.requests import Request

from models.label_tree import FFPP
from prediction.palette import OUTCOME_COLOURS
from prediction.web import connections, page, prediction_queue, request_guard, server
from prediction.web.connections import PatientProtocol, is_loopback
from prediction.web.page import Page, file_name
from prediction.web.prediction_queue import PredictionQueue
from prediction.web.rendering import assets, error_response, result_html
from prediction.web.server import bind, samples_by_name
from prediction.web.worker import Limits, Made, Progress, Refusal
from tests.contrast import check
from tests.scripts.test_app import HOSTILE, form
from utils.cli import UserError


class Controlled:
    """A worker whose prediction runs until it is told to end; it reports a share of 0.25 all the time.

    stubborn: it does not end when it is told to stop. dies: it ends its process.
    """

    def __init__(self):
        self.tree = FFPP
        self.settings = {"checkpoint": "x.pth", "detector": "mtcnn", "n_frames": 4}
        self.settings |= {"band": (0.5, 0.5), "calibration": None}
        self.running, self.ended, self.killed, self.starts = None, [], [], 0
        self.go_on, self.stubborn, self.dies, self.answer = threading.Event(), False, False, None

    def start(self):
        self.starts, self.alive = self.starts + 1, True
        return self

    def submit(self, task):
        assert self.running is None, "one at a time"
        self.task, self.running = task, task.path.read_text()

    def messages(self):
        if self.running is None:
            return
        assert self.task.path.exists(), "a running prediction has its file"
        if self.dies:
            self.kill()
        elif self.answer or self.go_on.is_set():
            empty = {"outcome": "no_face", "p_fake": None, "tracks": [], "reason": "y", "settings": {}}
            yield self.end(self.answer or Made({"input": str(self.task.path)} | empty))
        else:
            yield Progress("faces", 0.25)

    def end(self, message):
        self.ended.append(self.running)
        self.running = None
        return message

    def stop(self):
        if not self.stubborn:
            self.end(None)

    def is_alive(self):
        return self.alive

    def is_busy(self):
        return self.running is not None

    def kill(self):
        self.killed.append(self.running)
        self.running, self.alive = None, False


@pytest.fixture
def prediction(monkeypatch):
    controlled = Controlled()
    monkeypatch.setattr(prediction_queue, "_PATIENCE", 0.3)
    yield controlled
    controlled.go_on.set()


@pytest.fixture
def site(tmp_path, prediction):
    """(function that sends a request, folder of uploads, function that stops all predictions, the page)"""
    stopping = threading.Event()
    queue = PredictionQueue(prediction.start, 30)
    pages = Page(queue, {}, tmp_path / "uploads", Limits(1, 2), local=True, stopping=stopping.is_set)
    listener = bind("127.0.0.1", 0)
    options = {"log_level": "critical", "lifespan": "off", "http": PatientProtocol}
    running = uvicorn.Server(uvicorn.Config(pages.app(), **options))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    port = listener.getsockname()[1]
    thread.start()

    def connect(path, body=None, kind=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers |= {"Content-Type": kind} if kind else {}
        connection.request("POST" if body else "GET", path, body, headers)
        return connection

    pages.folder.mkdir()
    yield SimpleNamespace(connect=connect, folder=pages.folder, stopping=stopping, page=pages, port=port)
    stopping.set()
    running.should_exit = True
    thread.join()


def answer(connection):
    """(status, JSON) of the answer, which is waited for."""
    with contextlib.closing(connection):
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_one_prediction_at_a_time_and_the_others_wait_in_line(site, prediction):
    asked = []
    for number in range(3):
        asked.append(site.connect("/predict", *form([("file", "a.png", b"%d" % number)], job=f"job{number}")))
        wait_for(lambda: answer(site.connect(f"/progress/job{len(asked) - 1}"))[1])
    wait_for(lambda: prediction.running == "0")
    states = [answer(site.connect(f"/progress/job{number}"))[1] for number in range(3)]
    assert [state["ahead"] for state in states] == [0, 1, 2]
    assert (states[0]["step"], states[0]["share"]) == ("faces", 0.25) and states[1]["step"] == ""
    assert answer(site.connect("/progress/unknown")) == (200, {})
    prediction.go_on.set()
    for connection in asked:
        status, told = answer(connection)
        assert (status, told["input"], told["reason"], "settings" in told) == (200, "a.png", "y", False)
    assert prediction.ended == ["0", "1", "2"] and prediction.starts == 1
    assert answer(site.connect("/progress/job0")) == (200, {})
    assert list(site.folder.iterdir()) == []


def test_who_leaves_is_not_waited_for(site, prediction):
    asked = [site.connect("/predict", *form([("file", "a.png", b"%d" % n)])) for n in range(3)]
    wait_for(lambda: prediction.running and len(list(site.folder.iterdir())) == 3)
    running = prediction.running
    staying = asked.pop(int(running) - 1)  # one that waits
    for connection in asked:
        connection.close()
    wait_for(lambda: len(list(site.folder.iterdir())) == 1)
    wait_for(lambda: running in prediction.ended)
    prediction.go_on.set()
    assert answer(staying)[0] == 200
    assert len(prediction.ended) == 2, "who left the line was never looked at"
    assert list(site.folder.iterdir()) == []


def test_a_page_that_ends_gives_up_its_predictions(site, prediction):
    connection = site.connect("/predict", *form([("file", "a.png", b"x")]))
    wait_for(lambda: prediction.running)
    site.stopping.set()
    assert answer(connection) == (503, {"error": "the page is closing"})
    assert prediction.ended == ["x"] and list(site.folder.iterdir()) == []


def test_refusals_are_told_and_leave_nothing(site, prediction):
    prediction.answer = Refusal(413, "too long")
    assert answer(site.connect("/predict", *form([("file", "a.png", b"x")]))) == (413, {"error": "too long"})
    assert list(site.folder.iterdir()) == [] and not prediction.killed


def test_a_file_that_takes_too_long_or_ends_the_process_keeps_nobody_waiting(site, prediction):
    prediction.stubborn = True
    site.page.queue._time_limit = 0.2
    status, told = answer(site.connect("/predict", *form([("file", "a.png", b"slow")])))
    assert status == 413 and told["error"].startswith("it took longer than 0.2 s; cut it, or start the page")
    assert prediction.killed == ["slow"] and list(site.folder.iterdir()) == []
    prediction.dies = True
    status, told = answer(site.connect("/predict", *form([("file", "a.png", b"bomb")])))
    assert status == 500 and told["error"].startswith("this file ended the process that looked at it")
    prediction.dies = False
    prediction.go_on.set()
    assert answer(site.connect("/predict", *form([("file", "a.png", b"x")])))[0] == 200
    assert prediction.starts == 3, "a new process each time"


def test_a_stubborn_prediction_of_who_left_is_ended(site, prediction):
    prediction.stubborn = True
    connection = site.connect("/predict", *form([("file", "a.png", b"left")]))
    wait_for(lambda: prediction.running)
    connection.close()
    wait_for(lambda: prediction.killed == ["left"])
    prediction.go_on.set()
    assert answer(site.connect("/predict", *form([("file", "a.png", b"x")])))[0] == 200


def test_a_full_line_is_told_before_the_file_is_read(site, prediction, monkeypatch):
    monkeypatch.setattr(prediction_queue, "MOST_JOBS", 2)
    upload = form([("file", "a.png", b"x")])
    waiting = [site.connect("/predict", *upload) for _ in range(2)]
    wait_for(site.page.queue.is_full)
    assert answer(site.connect("/predict", *upload)) == (503, {"error": prediction_queue.BUSY})
    prediction.go_on.set()
    assert [answer(connection)[0] for connection in waiting] == [200, 200]
    monkeypatch.setattr(page, "_MOST_UPLOADS", 0)
    assert answer(site.connect("/predict", *upload))[0] == 503


def test_the_folder_of_uploads_may_be_removed(site, prediction):
    prediction.go_on.set()
    site.folder.rmdir()
    assert answer(site.connect("/predict", *form([("file", "a.png", b"x")])))[0] == 200


def test_every_body_has_a_limit(site):
    for path in ("/predict", "/", "/page.css", "/progress/x", "/nothing"):
        for kind in ("application/json", "application/x-www-form-urlencoded", "text/plain", ""):
            connection = site.connect(path, b"a" * 20_000, kind)
            status = connection.getresponse().status
            connection.close()
            assert status == 413, (path, kind)
    assert " 413 " in raw(site, f"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 20000\r\n\r\n{'x' * 20000}")


def raw(site, text):
    """The status line of the answer to bytes."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=30) as connection:
        connection.sendall(text.encode())
        return connection.recv(100).decode().partition("\r\n")[0]


def test_odd_requests_are_refused(site, prediction):
    prediction.go_on.set()
    host = f"Host: 127.0.0.1:{site.port}\r\n"
    both = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    assert " 411 " in raw(site, f"POST /predict HTTP/1.1\r\n{host}{both}")
    two = "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"
    assert " 400 " in raw(site, f"POST /predict HTTP/1.1\r\n{host}{two}")
    own = f"Origin: http://127.0.0.1:{site.port}\r\n"
    for origin in ("http://evil.example", "null", "", "http://127.0.0.1", f"ftp://127.0.0.1:{site.port}"):
        for lines in (f"Origin: {origin}\r\n", f"{own}Origin: {origin}\r\n"):
            assert " 403 " in raw(site, f"GET / HTTP/1.1\r\n{host}{lines}\r\n"), origin
    assert " 200 " in raw(site, f"GET / HTTP/1.1\r\n{host}{own}\r\n")


def test_silent_connections_are_closed_and_too_many_are_not_taken(site, monkeypatch):
    monkeypatch.setattr(connections, "_SILENCE", 0.3)
    monkeypatch.setattr(connections, "_MOST", 3)
    silent = [socket.create_connection(("127.0.0.1", site.port), timeout=30) for _ in range(3)]
    silent[0].sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
    time.sleep(0.05)
    with socket.create_connection(("127.0.0.1", site.port), timeout=30) as one_more, contextlib.suppress(OSError):
        assert one_more.recv(1) == b""
    for connection in silent:
        with connection:
            assert connection.recv(1) == b"", "closed"
    with contextlib.closing(site.connect("/page.css")) as connection:
        assert connection.getresponse().status == 200


def test_a_body_that_does_not_come_is_not_waited_for(site, monkeypatch):
    monkeypatch.setattr(request_guard, "_PAUSE", 0.3)
    for kind in ("multipart/form-data; boundary=x", "text/plain"):  # taken and refused
        head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\nContent-Length: 20000\r\n"
        with socket.create_connection(("127.0.0.1", site.port), timeout=30) as connection:
            connection.sendall(f"{head}Content-Type: {kind}\r\n\r\n--x\r\n".encode())
            started = time.monotonic()
            while connection.recv(1000):
                pass
            assert time.monotonic() - started < 10
    assert site.page.uploads == 0 and not site.page.files


def test_one_address_has_so_many_files_and_connections(site, prediction, monkeypatch):
    monkeypatch.setattr(page, "_MOST_FILES", 1)
    monkeypatch.setattr(connections, "_MOST_EACH", 2)
    upload = form([("file", "a.png", b"x")])
    first, second = (site.connect("/predict", *upload) for _ in range(2))
    wait_for(lambda: site.page.files["127.0.0.1"] == 2)
    for module in (page, connections):
        monkeypatch.setattr(module, "is_loopback", lambda host: False)
    with pytest.raises(OSError):
        answer(site.connect("/predict", *upload))
    monkeypatch.setattr(connections, "_MOST_EACH", 9)
    assert answer(site.connect("/predict", *upload))[0] == 503
    prediction.go_on.set()
    assert answer(first)[0] == answer(second)[0] == 200
    assert not site.page.files


def test_loopback_is_this_machine():
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "192.0.2.1", "")] == [True, True, False, False]


def test_an_upload_that_trickles_is_ended(site, monkeypatch):
    monkeypatch.setattr(page, "_UPLOAD_SECONDS", 0.3)
    head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\nContent-Length: 900\r\n"
    assert " 408 " in raw(site, head + "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n")
    assert site.page.uploads == 0


def test_names_of_uploads_become_names_of_files():
    assert file_name("one.png") == file_name("a/b\\one.png") == "one.png"
    assert file_name("..") == file_name("") == file_name("x/") == "upload"
    for name in ("../../x.png", "/etc/x.png", "c:\\x.png", "x.png\0", "é" * 300 + "/x.png", "..", "", HOSTILE):
        made = file_name(name)
        assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}", made)


def test_hostile_names_and_reasons_are_text(tmp_path):
    prediction = {"input": f"/x/{HOSTILE}", "outcome": "unreadable", "p_fake": None, "tracks": [], "reason": HOSTILE}
    request = Request({"type": "http", "path": "/", "query_string": b"", "headers": []})
    error = error_response(request, 400, HOSTILE).body.decode()
    for html in (result_html(prediction, tmp_path, FFPP), error):
        assert "<img" not in html and "&lt;img src=x" in html


def track(state=("fake", "identity", "lip"), **more):
    """An entry of ``tracks`` whose state has the probability 0.9."""
    nodes = {name: 0.9 if name in state else 0.1 for name in FFPP.nodes}
    verdict = {"outcome": "fake", "p_fake": 0.9, "state": [*state], "explanation": "Fake."}
    return verdict | {"nodes": nodes, "frames": [{"frame": 7, "p_fake": 0.123}]} | more


def html_of(tmp_path, tracks, decided_by=1):
    prediction = {"input": "x.png", "outcome": "fake", "p_fake": 0.9, "tracks": tracks, "reason": None}
    return result_html(prediction | {"decided_by": decided_by, "settings": {"secret": 1}}, tmp_path, FFPP)


def test_the_tree_has_each_node_once_and_the_table_the_same_numbers(tmp_path):
    html = html_of(tmp_path, [track(p_fake_calibrated=0.6)])
    assert html.count('class="node on"') == 3 and html.count('class="node"') == 7
    assert html.count('class="edge on"') == 2 and html.count('class="edge"') == 13
    assert "P(fake) 0.60" in html and html.count('class="value">0.60') == 3, "all are calibrated alike"
    assert (
        '<th scope="row">lip</th><td>0.600</td><td>yes</td><td>expression, identity, physical inconsistency</td>'
        in html
    )
    assert '<th scope="row">skin</th><td>0.067</td><td>no</td><td>identity</td>' in html
    assert '<th scope="row">7</th><td>0.123</td>' in html, "the frames"
    saved = re.search('href="data:application/json;base64,([^"]*)"', html)[1]
    told = json.loads(base64.b64decode(saved))
    assert told["tracks"][0]["p_fake_calibrated"] == 0.6 and "settings" not in told


def test_people_are_tabs_and_nodes_lead_to_their_heat_maps(tmp_path):
    (tmp_path / "heat.jpg").write_bytes(b"1")
    maps = {"heat_maps": dict.fromkeys(FFPP.nodes, "heat.jpg")}
    html = html_of(tmp_path, [track(p_fake=0.2, outcome="real", state=(), **maps), track(**maps)], decided_by=2)
    assert "<small>P(fake) 0.90</small>" in html, "of the person who decides"
    for number, selected in ((1, "false"), (2, "true")):
        tab = f'role="tab" id="tab-{number}" aria-controls="person-{number}" aria-selected="{selected}"'
        assert (
            tab in html and f'id="person-{number}" role="tabpanel" tabindex="0" aria-labelledby="tab-{number}"' in html
        )
    links, ids = (re.findall(pattern, html) for pattern in ('href="#([^"]*)"', 'id="(map-[^"]*)"'))
    assert links == ids == [f"map-{number}-{i}" for number in (1, 2) for i in range(10)]
    alone = html_of(tmp_path, [track()])
    assert 'role="tab' not in alone and "<a class" not in alone, "no tabs for one person, no links without maps"


def test_a_marked_video_that_is_too_large_is_left_out(tmp_path, monkeypatch):
    (tmp_path / "annotated.mp4").write_bytes(b"123")
    prediction = {"input": "x", "outcome": "no_face", "tracks": [], "reason": None, "annotated": "annotated.mp4"}
    arguments = (prediction, tmp_path, FFPP)
    assert 'src="data:video/mp4;base64,MTIz"' in result_html(*arguments)
    monkeypatch.setattr("prediction.web.rendering.MAX_VIDEO_BYTES", 2)
    html = result_html(*arguments)
    assert "too large for this page" in html and "<video" not in html


def test_the_style_sheet_has_the_colours_of_the_outcomes():
    css = assets()["css"]
    assert "--fake: #b34e00;" in css and "--fake: #ff9a4d;" in css and ".uncertain {" in css


def test_colours_have_the_contrast_of_wcag_aa():
    on_card = [(name, "card") for name in (*OUTCOME_COLOURS, "accent", "text", "quiet")]
    others = [("text", "page"), ("quiet", "page"), ("text", "fill"), ("text", "on-fill"), ("on-accent", "accent")]
    check(assets()["css"], on_card + others, [("edge", "card"), ("edge", "page"), ("accent", "page")])


def test_samples_have_names_that_tell_them_apart(tmp_path, monkeypatch):
    for name in ("a/x.png", "a/y.png", "b/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert samples_by_name([]) == {}
    assert list(samples_by_name([tmp_path / "a"])) == ["x.png", "y.png"]
    assert len(samples_by_name([tmp_path])) == 3
    monkeypatch.setattr(server, "MAX_SAMPLES", 2)
    with pytest.raises(UserError, match="3 files are too many"):
        samples_by_name([tmp_path])
