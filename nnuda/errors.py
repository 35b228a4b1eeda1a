"""Errors meant for the user: something that can be put right, not a fault of the program."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from traceback import walk_tb
from types import FrameType, TracebackType
from typing import Any, TextIO

DEBUG = "nnUDA_DEBUG"  # set to 1, a command shows the traceback of what it otherwise says in one message
_OF_NNUNET = {  # what it raises itself, before anything of ours is called
    "Cannot run validation because the training is not finished yet!": "--val: expected a finished training, with "
    "checkpoint_final.pth in its folder; there is none. Train it to its end first; --c goes on with one that was stopped.",
    "Cannot set --c and --val flag at the same time. Dummy.": "--c and --val: expected one of them; got both. --c goes on "
    "with a training, --val validates one that is finished.",
    "Cannot both continue a training AND load pretrained weights. Pretrained weights can only be used at the beginning of "
    "the training.": "--c and -pretrained_weights: expected one of them; got both. --c goes on from the training's own "
    "checkpoint; leave it out to begin with these weights.",
}
_WAY_OUT = {
    errno.ENOSPC: "Free some room and run the same command again.",
    errno.EDQUOT: "Free some room of your quota and run the same command again.",
    errno.EACCES: "Give this account the rights, or name another place.",
    errno.EPERM: "Give this account the rights, or name another place.",
    errno.EROFS: "Name a place that can be written to.",
    errno.ENOENT: "Put it in place, or correct the path.",
    errno.EEXIST: "Move it away, or name another place.",
    errno.ENOTEMPTY: "Move it away, or name another place.",
    errno.ELOOP: "Correct the links, which lead round in a circle.",
    errno.EFBIG: "Raise the limit of a file's size (ulimit -f), or name a place that takes larger files.",
    errno.EIO: "The disk or its connection failed: look after it, and run the same command again.",
    errno.ESTALE: "Connect the network's disk again, and run the same command again.",
    errno.ETXTBSY: "Another program uses it: end that, and run the same command again.",
    errno.EBUSY: "Another program uses it: end that, and run the same command again.",
    errno.EISDIR: "Expected a file: name one, or remove the folder.",
    errno.ENOTDIR: "Expected a folder: name one, or remove the file.",
    errno.ENAMETOOLONG: "Use shorter names.",
    errno.EMFILE: "Raise the number of open files (ulimit -n).",
    errno.ENFILE: "Close other programs: the machine has too many files open.",
}
AGAIN = "The same command goes on where it can."
_NNUNETS_MODULES = ("run_training.py", "predict_from_raw_data.py")  # python -m nnunetv2.run.run_training


class NnudaError(Exception):
    """Says what was expected, what came, and what to do. A command prints it without a traceback."""


class PlanningError(NnudaError, ValueError):
    """Something about the two domains, or a command's options, that forbids any long work."""


class DatasetError(NnudaError, ValueError):
    """Images, labels or a dataset that are not where, not named as, or do not hold what they should."""


class EvaluationError(NnudaError, ValueError):
    """Something that forbids a score; the message says what and how to fix it."""


class ReportError(NnudaError, ValueError):
    """Something that forbids a report; the message says what was expected and what to do."""


class ExportError(NnudaError, ValueError):
    """This model does not become a plain nnU-Net; says why and what to do."""


class LookError(NnudaError, ValueError):
    """A model that does not belong to the pair."""


class AdaptError(NnudaError, RuntimeError):
    """A folder that holds something else, or settings that a training was not begun with."""


class UnsupportedError(NnudaError, NotImplementedError):
    """What a method does not do with this plan."""


class Terminated(BaseException):
    """SIGTERM came: raised so that whatever is half done is cleared away."""


def harmless(text: str) -> str:
    """A text for the terminal: control characters, which could move the cursor or hide lines, as \\x1b and the like."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def short(text: str, length: int = 300) -> str:
    """A text for a message: a long one by its two ends."""
    half = length // 2
    return text if len(text) <= length else f"{text[:half]} ... {text[-half:]} ({len(text)} characters)"


class HarmlessOutput:
    """A stream that shows control characters instead of obeying them: names out of files reach the terminal.

    Args:
        stream: that is written to; what paints a terminal on purpose (rich) takes `rich_proxied_file`.
    """

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream

    def write(self, text: str) -> int:
        self.rich_proxied_file.write(harmless(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


def message_of(error: BaseException, again: str = AGAIN) -> str | None:
    """What to tell the user; None where the error is a fault of the program, whose traceback is wanted."""
    if isinstance(error, NnudaError):
        return harmless(f"Error: {error}")
    if isinstance(error, OSError) and error.errno in _WAY_OUT:
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        return harmless(f"Error: {' -> '.join(names) or 'a file'}: {error.strerror}. {_WAY_OUT[error.errno]}")
    if isinstance(error, MemoryError):
        return harmless(
            f"Error: out of memory ({error or 'no size given'}). Use fewer worker processes (-np), close other "
            "programs, or a machine with more memory."
        )
    if (file := _unread_json(error)) is not None:
        return harmless(f"Error: {file}: expected JSON; it cannot be read ({error}). Put it back as it was.")
    if isinstance(error, RuntimeError | AssertionError) and str(error) in _OF_NNUNET:
        return f"Error: {_OF_NNUNET[str(error)]}"
    if isinstance(error, KeyboardInterrupt):
        return f"Interrupted. {again}"
    if isinstance(error, Terminated):
        return f"Terminated. {again}"
    return None


def _unread_json(error: BaseException) -> str | None:
    """The file that nnU-Net's own `load_json` could not read: it says where in the file, and not in which."""
    if not isinstance(error, ValueError):  # no JSON, or no text
        return None
    for frame, _ in walk_tb(error.__traceback__):
        if frame.f_code.co_name == "load_json" and "file" in frame.f_locals:
            return str(frame.f_locals["file"])
    return None


@contextmanager
def one_message(again: str = AGAIN) -> Iterator[None]:
    """Ends the program with one message where the user can put the error right, with the traceback where it is a fault
    of the program. nnUDA_DEBUG=1 always shows it.

    Args:
        again: how to go on after Ctrl-C and SIGTERM.
    """
    with terminable():
        try:
            yield
        except BrokenPipeError:  # the reader of our output (| head) has gone: nothing is wrong
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)  # as a shell has it
        except BaseException as error:
            message = message_of(error, again)
            if message is None or os.environ.get(DEBUG) == "1":
                raise
            status = {KeyboardInterrupt: 130, Terminated: 143}.get(type(error))  # as a shell has them
            if status is None:
                sys.exit(message)  # to stderr, with status 1
            print(message, file=sys.stderr, flush=True)
            sys.exit(status)


@contextmanager
def terminable() -> Iterator[None]:
    """Inside, SIGTERM raises `Terminated`, so that files aside are removed and worker processes end.

    Processes that are forked from this one end at once, as if nothing had been set: a pool ends its own so.
    """
    global _terminable

    asked = False

    def terminate(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, terminate)
    except ValueError:  # not the main thread: whoever runs it decides
        yield
        return
    _terminable += 1
    try:
        yield
    except Exception as error:
        if asked:  # what was raised in a callback of torch's or NumPy's comes out as an error of theirs
            raise Terminated from error
        raise
    finally:
        _terminable -= 1
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


_terminable = 0  # open blocks of `terminable`


def _hold_sigterm() -> None:
    if _terminable:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _let_sigterm_come() -> None:
    if _terminable:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _forked() -> None:
    if _terminable:
        with suppress(ValueError):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _let_sigterm_come()


if hasattr(os, "register_at_fork"):
    # Python forgets a signal with a handler of its own that comes while it forks: the worker of a pool that is ended at
    # once would live on, and its parent wait for it for ever. Held back, the signal comes when the handler is gone.
    os.register_at_fork(before=_hold_sigterm, after_in_parent=_let_sigterm_come, after_in_child=_forked)


def runs_nnunet() -> bool:
    """Whether this program is one of nnU-Net's commands, and not a notebook, a test or a script of the user's."""
    name = os.path.basename(sys.argv[0]) if getattr(sys, "argv", None) else ""
    return name.startswith("nnUNetv2_") or name in _NNUNETS_MODULES


@contextmanager
def one_message_in_nnunet(again: str = AGAIN) -> Iterator[None]:
    """`one_message` where nnU-Net's command runs, for what it calls of ours; elsewhere errors are raised as they are."""
    if not runs_nnunet():
        yield
        return
    with one_message(again):
        yield


def say_errors_in_one_message() -> None:
    """The same for a program that is not ours, such as nnUNetv2_train: replaces its way of showing errors that end it."""
    shown = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        message = message_of(error)
        if message is None or os.environ.get(DEBUG) == "1":
            shown(kind, error, trace)
        else:
            print(message, file=sys.stderr, flush=True)

    if shown.__module__ != __name__:
        sys.excepthook = hook
