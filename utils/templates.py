"""HTML pages from Jinja templates in which every value is escaped."""

import base64
from pathlib import Path

import jinja2


def environment(folder: Path) -> jinja2.Environment:
    """The templates in ``folder``. Every value is escaped, an undefined name raises; adds the filter ``data_uri``."""
    loader = jinja2.FileSystemLoader(folder)
    made = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters["data_uri"] = data_uri
    return made


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as an address that needs no request, ``data:<kind>;base64,...``. kind: such as image/png."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
