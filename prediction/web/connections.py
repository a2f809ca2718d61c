"""Connections to the page: only so many, and only for so long."""

import asyncio
import ipaddress

from uvicorn.protocols.http.h11_impl import H11Protocol

_MOST = 300  # at a time; a process may have 1,024 files open
_MOST_EACH = 60  # of an address; of this machine more, perhaps from a proxy
_SILENCE = 20  # seconds without a whole request


def is_loopback(host: str) -> bool:
    """Whether a client's address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class PatientProtocol(H11Protocol):
    """HTTP connections. Beyond _MOST they are closed at once, and those that ask for nothing after _SILENCE.

    So half-open connections cannot use up the files that a process may have open, about which asyncio would write a
    log without end.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        host = self.client[0] if self.client else ""
        same = sum(getattr(other, "client", None) is not None and other.client[0] == host for other in self.connections)
        if len(self.connections) > _MOST or (same > _MOST_EACH and not is_loopback(host)):
            transport.abort()
            return
        self.loop.call_later(_SILENCE, self._close_if_silent, None)

    def _close_if_silent(self, earlier: object) -> None:
        """Close the connection if it has no request at work and has had none since ``earlier``, its last one then."""
        if self.transport.is_closing():
            return
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self.cycle is earlier:
            self.transport.close()
        else:
            self.loop.call_later(_SILENCE, self._close_if_silent, self.cycle)
