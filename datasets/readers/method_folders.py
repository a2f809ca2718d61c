"""The method that made an image, by the names of FF++'s and FFSC's folders."""

import re

from datasets.readers.ffsc import METHODS, PROTOCOL1_METHODS

_FFPP = re.compile(r"/(?:original_sequences|manipulated_sequences/([^/]+)|expansion/[^/]+/[^/]+/([^/]+))/")
_FFSC = re.compile(r"/(?:train|val|test)/(?:protocol-1/)?([^/]+)(?:/|$)", re.IGNORECASE)
_FFSC_NAMES = {"real": "real"}
for _method, _changed in (METHODS | PROTOCOL1_METHODS).items():  # what was changed may follow: FNeVR-pose
    _plain = _method.lower().replace("_", "-")
    _FFSC_NAMES |= {_plain: _method, f"{_plain}-{_changed}": _method}


def method_of(folder: str) -> str | None:
    """real, a manipulation, or expansion/<region>; None for a folder of another structure."""
    folder = folder.replace("\\", "/")
    if ffpp := _FFPP.search(folder):
        method, region = ffpp.groups()
        return f"expansion/{region}" if region else method or "real"
    ffsc = _FFSC.search(folder)
    return _FFSC_NAMES.get(ffsc[1].lower().replace("_", "-")) if ffsc else None
