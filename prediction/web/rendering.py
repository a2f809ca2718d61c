"""The page, its results and its errors as HTML. The templates escape every value."""

import json
from collections.abc import Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from evaluation.tree_svg import CSS, tree_svg
from models.label_tree import LabelTree
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


def result_html(prediction: Mapping, folder: Path, tree: LabelTree) -> str:
    """The part of the page that shows a prediction, the content of prediction.json; its pictures are in ``folder``."""
    people = []
    for number, track in enumerate(prediction["tracks"], start=1):
        p_fake = track.get("p_fake_calibrated", track["p_fake"])
        nodes = calibrated_nodes(track["nodes"], track["p_fake"], p_fake)
        texts = {name: f"{p:.2f}" for name, p in nodes.items()}
        links = f"#map-{number}-" if "heat_maps" in track else ""
        svg = tree_svg(tree, nodes, texts, "Label tree with the probability of each part", track["state"], links)
        people.append({"timeline": None} | track | {"p_shown": p_fake, "nodes": nodes, "svg": svg})
    annotated = folder / prediction["annotated"] if "annotated" in prediction else None
    fits = annotated is not None and annotated.stat().st_size <= MAX_VIDEO_BYTES
    content = {key: value for key, value in prediction.items() if key != "settings"}
    values = {"people": people, "annotated": annotated, "fits": fits, "folder": folder, "tree": tree}
    values |= {"name": Path(prediction["input"]).name, "json": json.dumps(content, indent=1).encode()}
    return _templates.get_template("result.html").render(prediction=prediction, **values)


def page_response(**values: object) -> Response:
    """The page; ``values`` are those of page.html."""
    return HTMLResponse(_templates.get_template("page.html").render(values), headers=_HEADERS)


def assets() -> dict[str, str]:
    """The page's CSS, with the colours of the outcomes and the style of the tree, and its script."""
    css = _templates.get_template("page.css").render(colours=OUTCOME_COLOURS, tree_style=CSS)
    return {"css": css, "javascript": (_FOLDER / "page.js").read_text(encoding="utf-8")}


def wants_json(request: Request) -> bool:
    """Whether a program asks: for /predict, or for JSON as the page's script does."""
    return request.url.path == "/predict" or "application/json" in request.headers.get("accept", "")


def error_response(request: Request, status: int, text: str) -> Response:
    """An error as JSON {"error": text} or as a page."""
    if wants_json(request):
        return JSONResponse({"error": text}, status)
    return HTMLResponse(_templates.get_template("error.html").render(text=text), status, _HEADERS)
