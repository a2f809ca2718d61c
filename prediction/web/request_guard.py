"""ASGI middleware that refuses requests before the page sees them."""

import asyncio
import re
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prediction.web.prediction_queue import BUSY
from prediction.web.rendering import error_response
from prediction.web.worker import Limits

_LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?", re.IGNORECASE)
_PAUSE = 10  # seconds
_SMALL = 10_000  # bytes of a form beside its file, and of every other body


class _Impatient:
    """Receives a body whose parts must follow each other within _PAUSE seconds; else the client counts as gone."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self._more = receive, True

    async def __call__(self) -> Message:
        if not self._more:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), _PAUSE)
        except asyncio.TimeoutError:
            message = {"type": "http.disconnect"}
        self._more = message.get("more_body", False)
        return message


class RequestGuard:
    """Refuses requests of other websites, long bodies and those of unknown length, and files while the page is busy.

    busy: whether it is, for an address.

    If the page is ``local``, it also refuses requests that name another host: a website could give its own name the
    address 127.0.0.1 (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, limits: Limits, local: bool, busy: Callable[[str], bool]) -> None:
        self.app, self.limits, self.local, self.busy = app, limits, local, busy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self.app(scope, _Impatient(receive), send)
            return
        # Read and drop the body: most clients read no answer before they have sent all.
        left, receive = 2 * self.limits.max_bytes, _Impatient(receive)
        while left > 0 and (message := await receive()).get("more_body"):
            left -= len(message["body"])
        await error_response(Request(scope), *refusal)(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        if self.local and not _LOOPBACK.fullmatch(host):
            return 403, "this page answers its own machine only; open it at 127.0.0.1, or start it with --host"
        if any(origin.lower() not in (f"http://{host}", f"https://{host}") for origin in headers.getlist("origin")):
            return 403, "requests from other websites are refused; open the page itself"
        if "transfer-encoding" in headers:
            return 411, "send the length of the request (Content-Length)"
        is_upload = scope["method"] == "POST" and headers.get("content-type", "").startswith("multipart/form-data")
        length = int(headers.get("content-length", "0"))
        if is_upload and length > self.limits.max_bytes + _SMALL:
            return 413, self.limits.too_large
        if not is_upload and length > _SMALL:
            return 413, "only a form with a file (multipart/form-data) may be long"
        sender = scope["client"][0] if scope.get("client") else ""
        return (503, BUSY) if is_upload and self.busy(sender) else None
