"""What every script shares at its edges: the argument parser, errors a user can mend, and exit codes.

Exit codes: 0 done; 2 bad arguments or bad data, one clear line; 130 stopped by Ctrl-C and 143 by SIGTERM, after
saving; 1 anything else (a traceback).
"""

import argparse
import errno
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from utils.ranks import is_main, rank

_LONGEST_LINE = 2000  # letters of an error
_CTRL_C = "stopped by Ctrl-C"


# Options of the reference's scripts that these do without -> what to use instead.
INSTEAD = {
    "--zip": "crops are read as files; --crop_cache DIR keeps them decoded in one file",
    "--cache-mode": "--crop_cache DIR keeps the decoded crops",
    "--opts": "each setting is an option of its own",
}


class UserError(Exception):
    """Bad arguments or bad data. The message is one line that says what is wrong and how to mend it."""


class ToldError(UserError):
    """A UserError that another process of the run has printed."""


class Stopped(BaseException):
    """The process was asked to stop by a signal and has saved what it had. ``code`` is the exit code, 128 + signal."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.code = 128 + signum


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Defaults in --help, but not "(default: None)" and "(default: False)"."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


class ArgumentParser(argparse.ArgumentParser):
    """argparse with defaults in --help, no abbreviations, and errors of one line.

    instead: option or value that other programs have -> what to use in its place, told when it is refused.
    """

    def __init__(self, instead: Mapping[str, str] | None = None, **kwargs: object) -> None:
        kwargs.setdefault("formatter_class", _HelpFormatter)
        super().__init__(allow_abbrev=False, **kwargs)
        self._instead = instead or {}

    def error(self, message: str) -> NoReturn:
        refused = message.partition("(choose from")[0].replace("'", " ").replace("=", " ").split()
        told = "unrecognized" in refused or "choice:" in refused
        advice = [f"; {what}" for word, what in self._instead.items() if told and word in refused]
        self.exit(2, f"{self.prog}: error: {message}{''.join(advice)} (see --help)\n")


def positive_int(text: str) -> int:
    """argparse type: an integer of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return value


def port(text: str) -> int:
    """argparse type: a port, 1 to 65535."""
    value = positive_int(text)
    if value > 65535:
        raise argparse.ArgumentTypeError(f"{text} is above 65535, the last port")
    return value


def folder_name(text: str) -> str:
    """argparse type: the name of a folder, which an unset variable of the shell is not."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the folder's name is empty")
    return text


def non_negative_int(text: str) -> int:
    """argparse type: an integer of at least 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


def positive_float(text: str) -> float:
    """argparse type: a finite number above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def finite_float(text: str) -> float:
    """argparse type: a finite number."""
    value = float(text)
    if not abs(value) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number")
    return value


def non_negative_float(text: str) -> float:
    """argparse type: a finite number of at least 0."""
    value = finite_float(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


def seed(text: str) -> int:
    """argparse type: a seed that every random generator takes, 0 to 2**63 - 1."""
    value = non_negative_int(text)
    if value >= 2**63:
        raise argparse.ArgumentTypeError(f"{text} is larger than 2**63 - 1")
    return value


def probability(text: str) -> float:
    """argparse type: a number in [0, 1]."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def boolean(text: str) -> bool:
    """argparse type: True or False in words, as the reference's commands write them (``--test_log True``)."""
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return words[text.lower()]


def answer_first(name: str, get_args_parser: Callable[[], ArgumentParser]) -> None:
    """Answer --help, wrong arguments and Ctrl-C before and during the imports that take seconds. name: the
    ``__name__`` of the calling module; nothing happens unless it is the script that was started."""
    if name == "__main__":
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell's background jobs ignore it
            signal.signal(signal.SIGINT, _leave)
        get_args_parser().parse_args()


def printable(text: str) -> str:
    """What a terminal must not get, control characters and halves of letters, as question marks; ends of lines stay."""
    shown = text.encode("utf-8", "replace").decode()
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in shown)


def one_line(text: str) -> str:
    """A message of any length and any characters, as a line that a person reads."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE // 2]} ... {line[-_LONGEST_LINE // 2 :]}"


def _leave(_signum: int, _frame: object) -> NoReturn:
    """Nothing is begun while modules are imported, and an exception in there may get lost."""
    os.write(2, f"{_CTRL_C}\n".encode())
    os._exit(130)


def _raise_stopped(signum: int, _frame: object) -> NoReturn:
    raise Stopped(signum)


def _send_again(lost: "sys.UnraisableHookArgs") -> None:
    """Ctrl-C or SIGTERM that fell into a destructor, where Python drops exceptions, comes once more, after it."""
    if issubclass(lost.exc_type, KeyboardInterrupt | Stopped):
        signum = signal.SIGINT if issubclass(lost.exc_type, KeyboardInterrupt) else signal.SIGTERM
        again = threading.Timer(0.02, os.kill, [os.getpid(), signum])
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(lost)


def script(main: Callable[[Sequence[str] | None], None]) -> Callable[[Sequence[str] | None], int]:
    """Wrap a script's ``main(argv=None)`` so that it returns the project's exit codes and stops cleanly on SIGTERM.

    Without ``argv`` it is the process's own: signals while Python itself ends change nothing any more.
    """

    @functools.wraps(main)
    def wrapper(argv: Sequence[str] | None = None) -> int:
        in_main_thread = threading.current_thread() is threading.main_thread()
        previous = signal.signal(signal.SIGTERM, _raise_stopped) if in_main_thread else None
        if argv is None:
            sys.unraisablehook = _send_again
        if in_main_thread and signal.getsignal(signal.SIGINT) is _leave:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            main(argv)
        except ToldError:
            return 2
        except UserError as error:
            process = "" if is_main() else f"process {rank()}: "
            print(f"{process}error: {one_line(str(error))}", file=sys.stderr)
            return 2
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            what = error.filename or "what the run writes"
            print(f"error: cannot write {what} ({error.strerror}); make room or choose another place", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print(_CTRL_C, file=sys.stderr)
            return 130
        except Stopped as stop:
            print(f"stopped by {stop}", file=sys.stderr)
            return stop.code
        finally:
            if argv is None and in_main_thread:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                signal.signal(signal.SIGINT, signal.SIG_IGN)
            elif in_main_thread:
                signal.signal(signal.SIGTERM, previous)
        return 0

    return wrapper
