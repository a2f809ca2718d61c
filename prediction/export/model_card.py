"""The model card of an exported model, with the front matter that the Hugging Face Hub reads."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2


def model_card(config: Mapping[str, Any]) -> str:
    """The text of README.md. config: the content of config.json."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters["plain"] = _plain
    template = (Path(__file__).parent / "model_card.md.jinja").read_text(encoding="utf-8")
    return environment.from_string(template).render(config, side=config["preprocessing"]["image_size"])


def _plain(value: object) -> str:
    """A value in words, for a table's cell."""
    if value is None or isinstance(value, jinja2.Undefined):
        return "not known"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items() if item is not None)
    return value if isinstance(value, str) else json.dumps(value)
