"""What all scripts share: argument parser, argument types, user errors, exit codes.

Exit codes: 0 done; 2 bad arguments or bad data, with a message of one line; 130 stopped by Ctrl-C and 143 by SIGTERM,
after saving; 141 done, but nobody read all that was printed, as in ``| head -1``; 1 anything else, with a traceback.
"""

import argparse
import errno
import functools
import math
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar

from utils.ranks import is_main, rank
from utils.terminal import printable, say, terminal_output

Number = TypeVar("Number", int, float)
LARGEST = 2**63 - 1  # number of any option
_LONGEST_NUMBER = 40  # characters of a number in an error message
_LONGEST_LINE = 2000  # characters of an error message
_NOT_READ = 141  # what a shell shows of a process that SIGPIPE ended

# Option of the reference's scripts that ours lack -> what to use instead.
INSTEAD = {
    "--zip": "crops are read as files; --crop_cache DIR keeps them decoded in one file",
    "--cache-mode": "--crop_cache DIR keeps the decoded crops",
    "--opts": "each setting is an option of its own",
}


class UserError(Exception):
    """Bad arguments or bad data. The message is one line that says what is wrong and how to fix it."""


class PrintedError(UserError):
    """A UserError that the main process has already printed."""


class Stopped(BaseException):
    """The process was told to stop by the signal ``signum``, and has saved its work."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Show defaults in --help, except None, False and empty lists; the values of a list without brackets."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        default = action.default
        if isinstance(default, list | tuple):
            return f"{action.help} (default: {' '.join(map(str, default))})" if default else action.help
        return action.help if default is None or default is False else super()._get_help_string(action)


class ArgumentParser(argparse.ArgumentParser):
    """argparse with defaults in --help, no abbreviations, and errors of one line.

    instead: unknown option or value -> what to use instead; added to the error message.
    """

    def __init__(self, instead: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **({"formatter_class": _HelpFormatter} | kwargs))
        self._instead = instead or {}

    def error(self, message: str) -> NoReturn:
        refused = message.partition("(choose from")[0].replace("'", " ").replace("=", " ").split()
        unknown = "unrecognized" in refused or "choice:" in refused
        advice = [f"; {what}" for word, what in self._instead.items() if unknown and word in refused]
        self.exit(2, f"{self.prog}: error: {one_line(message)}{''.join(advice)} (see --help)\n")


def number_type(
    name: str, kind: type[Number], accepts: Callable[[Number], bool], fault: str, largest: int = LARGEST
) -> Callable[[str], Number]:
    """argparse type of the numbers that ``accepts`` allows; errors: "invalid <name> value" or "<text> <fault>".

    largest: no number is larger, nor smaller than -largest: sizes and seeds must fit in 64 bits.
    """

    def parse(text: str) -> Number:
        value = kind(text)
        shown = text if len(text) <= _LONGEST_NUMBER else f"{text[:_LONGEST_NUMBER]}..."
        if abs(value) > largest:
            raise argparse.ArgumentTypeError(f"{shown} is too large; at most {largest}")
        if not accepts(value):
            raise argparse.ArgumentTypeError(f"{shown} {fault}")
        return value

    parse.__name__ = name
    return parse


def between(lowest: Number, highest: Number, kind: type[Number] = int) -> Callable[[str], Number]:
    """Make an argparse type for a number from ``lowest`` to ``highest``, both included."""
    fault = f"is not between {lowest} and {highest}"
    return number_type("number", kind, lambda value: lowest <= value <= highest, fault)


positive_int = number_type("whole number", int, lambda value: value >= 1, "is not a positive whole number", 10**9)
non_negative_int = number_type("whole number", int, lambda value: value >= 0, "is negative")
positive_float = number_type("number", float, lambda value: 0 < value < math.inf, "is not a positive number")
finite_float = number_type("number", float, math.isfinite, "is not a finite number")
non_negative_float = number_type("number", float, lambda value: 0 <= value < math.inf, "is negative or not finite")
probability = between(0, 1, float)
processes, helpers = between(1, 1024), between(0, 1024)  # numbers of them; helpers: beside this process
port = number_type("port", int, lambda value: 1 <= value <= 65535, "is not a port, 1 to 65535")
seed = number_type("seed", int, lambda value: value >= 0, "is negative")


def folder_name(text: str) -> str:
    """argparse type: a name that is not empty, as it is when a shell variable is not set."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the folder's name is empty")
    return text


def new_png_file(text: str) -> Path:
    """argparse type: the name of a PNG file to write, which is not there yet."""
    if not text.lower().endswith(".png"):
        raise argparse.ArgumentTypeError(f"{text} must end in .png")
    if os.path.lexists(text):
        raise argparse.ArgumentTypeError(f"{text} is there already, and is not replaced; name a new file")
    return Path(text)


def boolean(text: str) -> bool:
    """argparse type: True or False as a word, as in the reference's ``--test_log True``."""
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return words[text.lower()]


def one_line(text: str) -> str:
    """A message as one printable line, without the middle of a very long one."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE // 2]} ... {line[-_LONGEST_LINE // 2 :]}"


def print_note(text: str) -> None:
    """Print ``note: <text>`` to stderr, in the main process."""
    if is_main():
        say(f"note: {one_line(text)}", file=sys.stderr)


def _stop(signum: int, frame: FrameType | None) -> NoReturn:
    importing = (f.f_code.co_filename.startswith("<frozen importlib") for f, _ in traceback.walk_stack(frame))
    if any(importing):  # the imported module may catch the exception, and there is nothing to save yet
        os.write(2, f"stopped by {_signal_name(signum)}\n".encode())
        os._exit(128 + signum)
    if signum == signal.SIGINT:
        raise KeyboardInterrupt
    raise Stopped(signum)


def _signal_name(signum: int) -> str:
    return "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name


def script(main: Callable[[Sequence[str] | None], None]) -> Callable[..., int]:
    """Make a script's ``main(argv=None)`` return the project's exit codes, and stop cleanly on Ctrl-C and SIGTERM.

    Called without ``argv``, it is the whole process: signals that arrive after ``main`` are ignored.
    """

    @functools.wraps(main)
    def wrapper(argv: Sequence[str] | None = None) -> int:
        previous = _handle_stop_signals() if threading.current_thread() is threading.main_thread() else {}
        try:
            with terminal_output() as outputs:
                code = _exit_code(main, argv)
        finally:
            for signum, handler in previous.items():
                signal.signal(signum, signal.SIG_IGN if argv is None else handler)
        return code or (_NOT_READ if any(output.closed_early for output in outputs) else 0)

    return wrapper


def _exit_code(main: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None) -> int:
    """Call ``main``; print its error, if it is one of those that are no fault of the code, and return the exit code."""
    try:
        main(argv)
        if sys.stdout:
            sys.stdout.flush()
    except PrintedError:
        return 2
    except UserError as error:
        process = "" if is_main() else f"process {rank()}: "
        say(f"{process}error: {one_line(str(error))}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        what = f"cannot write {error.filename or 'what the run writes'} ({error.strerror})"
        say(f"error: {one_line(what)}; make room or choose another place", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, Stopped) as stop:
        signum = stop.signum if isinstance(stop, Stopped) else signal.SIGINT
        say(f"stopped by {_signal_name(signum)}", file=sys.stderr)
        return 128 + signum
    return 0


def _handle_stop_signals() -> dict[int, Any]:
    """Let ``_stop`` handle Ctrl-C and SIGTERM; return the previous handlers."""
    signums = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell's background jobs ignore Ctrl-C
        signums.append(signal.SIGINT)
    return {signum: signal.signal(signum, _stop) for signum in signums}
