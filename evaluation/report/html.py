"""One HTML page that opens from disk: no script, no request, styles and pictures inside it.

Every text from outside goes through ``escape``.
"""

import base64
import html
import io
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

_STYLE = """
:root { color-scheme: light dark; --page: #f4f5f7; --card: #ffffff; --text: #1d2129; --quiet: #5a6270;
  --line: #d9dce1; --head: #eceef1; --wrong: #b3261e; --right: #00684a;
  --tint: #5a62701c; --shadow: #0003; }
@media (prefers-color-scheme: dark) { :root { --page: #12151a; --card: #1c2027; --text: #e6e8eb; --quiet: #a3abb8;
  --line: #3a404a; --head: #262b34; --wrong: #ff8a80; --right: #5fd3a8;
  --tint: #a3abb81c; --shadow: #000c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 1.2rem 1rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .4rem 0; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; overflow-wrap: anywhere; }
h3 { font-size: 1.02rem; margin: 1.5rem 0 .4rem; }
p, li { max-width: 75ch; overflow-wrap: anywhere; }
ul { padding-left: 1.2rem; margin: .4rem 0; }
code { overflow-wrap: anywhere; }
.quiet, .caption, figcaption { color: var(--quiet); font-size: .9rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: .7rem; margin: 1rem 0; }
.card, figure, .wide { background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
.card { padding: .7rem .9rem; }
.card b { display: block; font-size: 1.6rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; margin: .3rem 0 .8rem; width: fit-content; max-width: 100%;
  background: linear-gradient(to left, var(--card) 40%, transparent) right / 3rem 100% no-repeat local,
    linear-gradient(to left, var(--shadow), transparent) right / 1.2rem 100% no-repeat scroll var(--card); }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
.caption { margin: .3rem 0; }
th, td { padding: .35rem .5rem; text-align: right; white-space: nowrap; }
tr + tr > *, tbody > tr > * { border-top: 1px solid var(--line); }
th { font-weight: 600; }
thead { background: var(--tint); }
th:first-child { background: var(--head); text-align: left; position: sticky; left: 0; }
tbody th { white-space: normal; min-width: 6.5rem; max-width: 60vw; }
@media (max-width: 600px) { tbody th { overflow-wrap: anywhere; max-width: 40vw; } }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 360px), 1fr)); gap: .8rem;
  align-items: start; }
figure { margin: 0; padding: .6rem; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.faces { display: grid; grid-template-columns: repeat(auto-fill, minmax(116px, 1fr)); gap: .6rem; }
.faces figure { padding: .5rem; text-align: center; }
.faces figcaption { overflow-wrap: anywhere; font-size: .78rem; line-height: 1.3; margin-top: .3rem; }
.faces b { display: block; font-size: .9rem; }
.wrong { color: var(--wrong); } .right { color: var(--right); }
"""


def escape(text: object) -> str:
    """Text for HTML; bytes of a name that are no UTF-8 become question marks."""
    return html.escape(str(text).encode("utf-8", "replace").decode())


def page(title: str, body: Sequence[str]) -> str:
    """The whole document."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title><link rel="icon" href="data:,">\n<style>{_STYLE}</style></head>\n'
        "<body><main>\n" + "\n".join(body) + "\n</main></body></html>\n"
    )


def heading(level: int, text: str) -> str:
    """A heading, level 1 to 3."""
    return f"<h{level}>{escape(text)}</h{level}>"


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def bullets(lines: Sequence[str]) -> str:
    """A list; nothing for no lines."""
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>" if lines else ""


def cards(figures: Sequence[tuple[str, str, str]]) -> str:
    """Headline figures: (name, value, remark)."""
    one = '<div class="card"><span>{}</span><b>{}</b><span class="quiet">{}</span></div>'
    return '<div class="cards">' + "".join(one.format(*map(escape, figure)) for figure in figures) + "</div>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """A table that scrolls inside its own box where it is wider than the page. Row names come first."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    lines = (
        f'<tr><th scope="row">{escape(row[0])}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in rows
    )
    return (
        f'<p class="caption">{escape(caption)}</p>'
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def plot(light: bytes, dark: bytes, caption: str) -> str:
    """A PNG drawn for a light and for a dark page."""
    return (
        f'<figure><picture><source media="(prefers-color-scheme: dark)" srcset="{_data_uri(dark, "png")}">'
        f'<img src="{_data_uri(light, "png")}" alt="{escape(caption)}"></picture>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def grid(kind: str, items: Sequence[str]) -> str:
    """Figures side by side; kind: plots or faces."""
    return f'<div class="{kind}">' + "".join(items) + "</div>"


def face(jpeg: bytes, title: str, wrong: bool, lines: Sequence[str]) -> str:
    """A thumbnail with its score and a few words."""
    words = "<br>".join(map(escape, lines))
    return (
        f'<figure><img src="{_data_uri(jpeg, "jpeg")}" alt="{escape(lines[0])}">'
        f'<figcaption><b class="{"wrong" if wrong else "right"}">{escape(title)}</b>{words}</figcaption></figure>'
    )


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def thumbnail(path: str, beside: Path, side: int = 96) -> bytes | None:
    """The image as a small JPEG; None when it is not there or cannot be read.

    A relative path is looked for from the working directory and from the folder ``beside``.
    """
    try:
        found = next((place for place in (Path(path), beside / path) if place.is_file()), None)
        if found is None:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow warns of images of extreme size and of damaged ones
            with Image.open(found) as image:
                image.draft("RGB", (side, side))
                small = image.convert("RGB")
        small.thumbnail((side, side))
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=80)
        return buffer.getvalue()
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Warning, Image.DecompressionBombError):
        return None
