"""ASGI middleware that refuses requests before their body is read."""

import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from prediction.web.rendering import error_response

_LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?", re.IGNORECASE)
_FORM_OVERHEAD = 10_000  # bytes of a form beside its file


class RequestGuard:
    """Refuses requests of other websites and bodies that are too large.

    Args:
        app: Gets the other requests.
        largest: Bytes of an upload.
        local: Whether the page is for this machine only. Then requests that name another host are refused: a website
            could give itself the address 127.0.0.1 (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, largest: int, local: bool) -> None:
        self.app, self.largest, self.local = app, largest, local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on or refuse one request."""
        refusal = self._refusal(Headers(scope=scope)) if scope["type"] == "http" else None
        if refusal is None:
            await self.app(scope, receive, send)
            return
        status, text = refusal
        if status == 413:
            await self._discard(receive)
        await error_response(Request(scope), status, text)(scope, receive, send)

    def _refusal(self, headers: Headers) -> tuple[int, str] | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.local and not _LOOPBACK.fullmatch(host):
            return 403, "this page is for its own machine only"
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return 403, "requests from other websites are refused"
        if "transfer-encoding" in headers:
            return 411, "send the length of the request (Content-Length)"
        if int(headers.get("content-length", "0")) > self.largest + _FORM_OVERHEAD:
            return 413, too_large(self.largest)
        return None

    async def _discard(self, receive: Receive) -> None:
        """Read and forget a body that is a little too large: most clients read no answer before they have sent all."""
        left = 2 * self.largest
        while left > 0 and (message := await receive()).get("more_body"):
            left -= len(message["body"])


def too_large(largest: int) -> str:
    """What a client is told whose file has more than ``largest`` bytes."""
    return f"the file is larger than {largest / 2**20:g} MB; cut it, or start the page with another --max_mb"
