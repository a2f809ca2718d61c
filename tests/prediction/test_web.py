"""The web page in this process, with a prediction that a test controls."""

import base64
import contextlib
import http.client
import json
import re
import threading
import time
from types import SimpleNamespace

import pytest
import uvicorn
from starlette.requests import Request

from models.label_tree import FFPP
from prediction.palette import OUTCOME_COLOURS
from prediction.web import page, server
from prediction.web.page import Page, file_name
from prediction.web.rendering import assets, error_response, result_html
from prediction.web.server import bind, samples_by_name
from tests.contrast import check
from tests.scripts.test_app import HOSTILE, form
from utils.cli import UserError


class Controlled:
    """A prediction that runs until it is told to end; it reports a share of 0.25 all the time."""

    def __init__(self):
        self.running, self.go_on, self.most = [], threading.Event(), 0
        self.ended = []

    def __call__(self, path, folder, context, on_progress):
        self.running.append(path.read_text())
        self.most = max(self.most, len(self.running))
        try:
            while not self.go_on.wait(0.01):
                on_progress("faces", 0.25)
                assert path.exists(), "a running prediction has its file"
        finally:
            self.ended.append(self.running.pop())
        return {"input": str(path), "outcome": "no_face", "p_fake": None, "tracks": [], "reason": "y", "settings": {}}


@pytest.fixture
def prediction(monkeypatch):
    controlled = Controlled()
    monkeypatch.setattr(page, "predict", controlled)
    monkeypatch.setattr(Page, "check_limits", lambda self, path: None)
    yield controlled
    controlled.go_on.set()


class Context(SimpleNamespace):
    def _replace(self, **changes):
        return self


@pytest.fixture
def site(tmp_path):
    """(function that sends a request, folder of uploads, function that stops all predictions)"""
    settings = {"checkpoint": "x.pth", "detector": "mtcnn", "n_frames": 4, "band": (0.5, 0.5), "calibration": None}
    context = Context(predictor=SimpleNamespace(tree=FFPP), settings=settings)
    stopping = threading.Event()
    app = Page(context, {}, tmp_path, 1, 2, local=True, stopping=stopping.is_set).app()
    listener = bind("127.0.0.1", 0)
    running = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    port = listener.getsockname()[1]
    thread.start()

    def connect(path, body=None, kind=None):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST" if body else "GET", path, body, {"Content-Type": kind} if kind else {})
        return connection

    yield SimpleNamespace(connect=connect, folder=tmp_path, stopping=stopping)
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
    wait_for(lambda: prediction.running == ["0"])
    states = [answer(site.connect(f"/progress/job{number}"))[1] for number in range(3)]
    assert [state["ahead"] for state in states] == [0, 1, 2]
    assert (states[0]["step"], states[0]["share"]) == ("faces", 0.25) and states[1]["step"] == ""
    assert answer(site.connect("/progress/unknown")) == (200, {})
    prediction.go_on.set()
    for connection in asked:
        status, told = answer(connection)
        assert (status, told["input"], told["reason"], "settings" in told) == (200, "a.png", "y", False)
    assert prediction.ended == ["0", "1", "2"] and prediction.most == 1
    assert answer(site.connect("/progress/job0")) == (200, {})
    assert list(site.folder.iterdir()) == []


def test_who_leaves_is_not_waited_for(site, prediction):
    asked = [site.connect("/predict", *form([("file", "a.png", b"%d" % n)])) for n in range(3)]
    wait_for(lambda: prediction.running and len(list(site.folder.iterdir())) == 3)
    (running,) = prediction.running
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


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (UserError("cannot write here"), "cannot write here"),
        (ZeroDivisionError(), "the page failed; its terminal says"),
    ],
)
def test_failures_are_told_and_leave_nothing(site, monkeypatch, error, text):
    def failing(*args, **named):
        raise error

    monkeypatch.setattr(Page, "check_limits", failing)
    status, told = answer(site.connect("/predict", *form([("file", "a.png", b"x")])))
    assert status == 500 and told["error"].startswith(text)
    assert list(site.folder.iterdir()) == []


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
