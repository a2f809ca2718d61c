"""HTML pages from Jinja templates."""

import base64
from pathlib import Path

import jinja2


def environment(folder: Path) -> jinja2.Environment:
    """The templates in ``folder``, with the filter ``data_uri``. Values are escaped; an undefined name raises."""
    loader = jinja2.FileSystemLoader(folder)
    made = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters["data_uri"] = data_uri
    return made


def data_uri(content: bytes, kind: str) -> str:
    """A link that holds the bytes, ``data:<kind>;base64,...``. kind: such as image/png."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
