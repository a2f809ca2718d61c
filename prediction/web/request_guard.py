"""ASGI middleware that refuses requests before the page sees them."""

import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from prediction.web.rendering import error_response

_LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?", re.IGNORECASE)
_FORM_OVERHEAD = 10_000  # bytes of a form beside its file


class RequestGuard:
    """Refuses requests of other websites, and bodies of unknown length or much longer than ``max_bytes``.

    If the page is ``local``, it also refuses requests that name another host: a website could give its own name the
    address 127.0.0.1 (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, max_bytes: int, local: bool) -> None:
        self.app, self.max_bytes, self.local = app, max_bytes, local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(Headers(scope=scope)) if scope["type"] == "http" else None
        if refusal is None:
            await self.app(scope, receive, send)
            return
        left = 2 * self.max_bytes  # read and drop the body: most clients read no answer before they have sent all
        while left > 0 and (message := await receive()).get("more_body"):
            left -= len(message["body"])
        await error_response(Request(scope), *refusal)(scope, receive, send)

    def _refusal(self, headers: Headers) -> tuple[int, str] | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.local and not _LOOPBACK.fullmatch(host):
            return 403, "this page answers its own machine only; open it at 127.0.0.1, or start it with --host"
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return 403, "requests from other websites are refused; open the page itself"
        if "transfer-encoding" in headers:
            return 411, "send the length of the request (Content-Length)"
        if int(headers.get("content-length", "0")) > self.max_bytes + _FORM_OVERHEAD:
            return 413, too_large(self.max_bytes)
        return None


def too_large(max_bytes: int) -> str:
    return f"the file is larger than {max_bytes / 2**20:g} MB; cut it, or start the page with another --max_mb"
