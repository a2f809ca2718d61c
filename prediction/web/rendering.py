"""The page, its results and its errors as HTML. The templates escape every value."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from prediction.palette import OUTCOME_COLOURS
from prediction.wording import calibrated_nodes
from utils.templates import data_uri, environment

MAX_VIDEO_BYTES = 32 * 2**20  # largest video in a page
_KINDS = {".jpg": "image/jpeg", ".png": "image/png", ".mp4": "video/mp4"}
# Scripts and styles come from this server, pictures from inside the page, and nothing from elsewhere. With the referrer
# policy no-referrer, browsers would send the form with the origin null, which RequestGuard refuses.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; media-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_FOLDER = Path(__file__).parent / "templates"
_templates = environment(_FOLDER)
_templates.filters["picture"] = lambda path: data_uri(path.read_bytes(), _KINDS[path.suffix])
_templates.filters["sentence"] = lambda text: text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def result_html(prediction: Mapping, folder: Path, nodes: Sequence[str], edges: Mapping[str, Sequence[str]]) -> str:
    """The part of the page that shows a prediction, the content of prediction.json, with its pictures from ``folder``.

    nodes: Of the label tree, root first; edges: of the label tree, parent -> children.
    """
    people = []
    for track in prediction["tracks"]:
        p_fake = track.get("p_fake_calibrated", track["p_fake"])
        people.append(track | {"p_shown": p_fake, "nodes": calibrated_nodes(track["nodes"], track["p_fake"], p_fake)})
    annotated = folder / prediction["annotated"] if "annotated" in prediction else None
    fits = annotated is not None and annotated.stat().st_size <= MAX_VIDEO_BYTES
    values = {"people": people, "annotated": annotated, "fits": fits, "folder": folder, "nodes": nodes, "edges": edges}
    name = Path(prediction["input"]).name
    return _templates.get_template("result.html").render(prediction=prediction, name=name, **values)


def page_response(**values: object) -> Response:
    """The page; ``values`` are those of page.html."""
    return HTMLResponse(_templates.get_template("page.html").render(values), headers=_HEADERS)


def assets() -> dict[str, str]:
    """The page's CSS, with the colours of the outcomes, and its script."""
    css = _templates.get_template("page.css").render(colours=OUTCOME_COLOURS)
    return {"css": css, "javascript": (_FOLDER / "page.js").read_text(encoding="utf-8")}


def wants_json(request: Request) -> bool:
    """Whether a program asks: for /predict, or for JSON as the page's script does."""
    return request.url.path == "/predict" or "application/json" in request.headers.get("accept", "")


def error_response(request: Request, status: int, text: str) -> Response:
    """An error as JSON {"error": text} or as a page."""
    if wants_json(request):
        return JSONResponse({"error": text}, status)
    return HTMLResponse(_templates.get_template("error.html").render(text=text), status, _HEADERS)
