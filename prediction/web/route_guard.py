"""What stands before the web page: only the requests that the page and its endpoint are made of get through."""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Messages = Callable[..., Awaitable[Any]]

_ROUTES = re.compile(
    r"/(|config|theme\.css|favicon\.ico|manifest\.json|robots\.txt|(assets|static|svelte)/.*"
    r"|gradio_api/(info|upload|upload_progress|startup-events|cancel|reset|queue/(join|data|status)|(call|heartbeat)/.*))"
)
_LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?")
_AROUND = 10_000  # bytes of an upload's request beside the file


class PageGuard:
    """ASGI middleware. Refuses every other route (some of Gradio's would fetch addresses and store answers), uploads of
    more bytes in all than ``largest``, and with ``local`` requests that name another host than this machine, as pages
    of other sites make them (DNS rebinding)."""

    def __init__(self, app: Messages, largest: int, local: bool) -> None:
        self.app, self.largest, self.local = app, largest, local

    async def __call__(self, scope: MutableMapping[str, Any], receive: Messages, send: Messages) -> None:
        """Pass on or refuse one request."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self.app(scope, receive, send)
            return
        status, words = refusal
        headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(words)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": words.encode()})

    def _refusal(self, scope: MutableMapping[str, Any]) -> tuple[int, str] | None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if self.local and not _LOOPBACK.fullmatch(headers.get(b"host", "")):
            return 403, "this page is for its own machine"
        if not _ROUTES.fullmatch(scope["path"]):
            return 404, "there is nothing here"
        if scope["path"] == "/gradio_api/upload":
            length = headers.get(b"content-length", "")
            if not length.isdecimal():
                return 411, "an upload tells its length"
            if int(length) > self.largest + _AROUND:
                return 413, f"an upload has at most {self.largest} bytes"
        return None
