"""The server of the web page."""

import argparse
import socket
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import python_multipart  # noqa: F401 - Starlette imports it with the first upload, too late for a clear message
import uvicorn

from prediction.web.connections import PatientProtocol
from prediction.web.page import Page
from prediction.web.prediction_queue import PredictionQueue
from prediction.web.scratch import scratch_folder
from prediction.web.worker import Limits, Worker
from preprocessing.extraction.find_files import find_inputs
from utils.cli import UserError

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
MAX_SAMPLES = 200


def serve(args: argparse.Namespace) -> None:
    """Serve the page until it is stopped. args: the options of SJEDD_app.py."""
    samples, local = samples_by_name(args.samples), args.host in LOCAL_HOSTS
    with (
        bind(args.host, args.port) as listener,
        scratch_folder("sjedd_app_") as folder,
        PredictionQueue(partial(Worker, args), args.time_limit) as queue,
    ):
        limits = Limits(args.max_mb, args.max_seconds)
        page = Page(queue, samples, folder, limits, local, lambda: server.should_exit)
        options = {"http": PatientProtocol, "ws": "none", "lifespan": "off", "timeout_graceful_shutdown": 5}
        options |= {"log_level": "warning", "use_colors": False, "access_log": False}
        server = uvicorn.Server(uvicorn.Config(page.app(), **options))
        if not local:
            print(f"note: everyone who can reach {args.host} can use the page; it has no password", file=sys.stderr)
        host = f"[{args.host}]" if ":" in args.host else args.host
        print(f"http://{host}:{args.port} is ready; Ctrl-C ends it", flush=True)
        server.run(sockets=[listener])


def bind(host: str, port: int) -> socket.socket:
    """Open a listening socket. Raises UserError if that fails."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family)
    except OSError as error:
        reason = str(error.strerror).partition(" (while")[0]
        raise UserError(f"cannot listen at {host}:{port} ({reason}); give another --host or --port") from error


def samples_by_name(paths: Sequence[Path]) -> dict[str, Path]:
    """Name on the page -> file. Raises UserError if there are more than MAX_SAMPLES."""
    found = find_inputs(paths)[0] if paths else []
    if len(found) > MAX_SAMPLES:
        raise UserError(f"--samples: {len(found)} files are too many to choose from; name at most {MAX_SAMPLES}")
    names = {path.name: path for path in found}
    return names if len(names) == len(found) else {str(path): path for path in found}
