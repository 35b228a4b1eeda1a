"""One function over many cases with a progress bar: in this process, or in a pool of processes. No worker process
outlives the one that started it."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from typing import Any

from tqdm import tqdm

from nnuda.errors import NnudaError


class WorkerDied(NnudaError, RuntimeError):
    """A process of the pool ended without a result."""


def run_cases(
    function: Callable,
    arguments: Sequence[tuple],
    num_processes: int,
    description: str,
    progress: bool = True,
    preload: Sequence[str] = (),
) -> list[Any]:
    """Call `function(*arguments[i])` for each i.

    Args:
        function: importable by name (worker processes import it themselves).
        arguments: one tuple a case.
        num_processes: 1 runs here: a spawned worker takes seconds to start.
        description: of the progress bar.
        progress: show the bar.
        preload: modules that take long to import: where it can be, a fork server imports them once for all workers.

    Returns:
        the results in the order of `arguments`.

    Raises:
        WorkerDied: a worker process was killed.
    """
    if not arguments:
        return []
    if num_processes <= 1 or len(arguments) == 1:
        with tqdm(
            arguments, desc=description, unit="case", disable=not progress
        ) as bar:  # ends its line before an error
            return [function(*a) for a in bar]
    workers, before = min(num_processes, len(arguments)), set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, mp_context=_context(preload), initializer=_begin_in_pool) as pool:
        try:
            futures = [pool.submit(function, *a) for a in arguments]
            for future in tqdm(
                as_completed(futures), total=len(futures), desc=description, unit="case", disable=not progress
            ):
                future.result()
        except BrokenProcessPool as error:
            raise WorkerDied(
                f"{description}: a worker process died, most often for lack of memory. Use fewer with -np."
            ) from error
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            if not isinstance(error, Exception):  # Ctrl-C, SIGTERM: nobody waits for the cases at hand
                for worker in set(multiprocessing.active_children()) - before:
                    worker.terminate()
            raise
    return [future.result() for future in futures]


def _context(preload: Sequence[str]) -> BaseContext:
    """Neither of both forks a process in which torch runs threads."""
    if not preload or "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context


# ---- workers end with their parent ----------------------------------------------------------------------------------

_PR_SET_PDEATHSIG = 1
_parent_of_forks: int | None = None  # while `workers_end_with_us`: this process


@contextmanager
def workers_end_with_us() -> Iterator[None]:
    """Processes that are forked inside, also by nnU-Net's loaders, end when this process does, even by kill -9; Ctrl-C
    and this process's way with SIGTERM are not theirs."""
    global _parent_of_forks
    before, _parent_of_forks = _parent_of_forks, os.getpid()
    try:
        yield
    finally:
        _parent_of_forks = before


def _after_fork() -> None:
    if _parent_of_forks is None:
        return
    end_with_parent()
    if os.getppid() != _parent_of_forks:  # it ended before we could ask to be told
        os._exit(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def end_with_parent() -> None:
    """At the start of a worker process: its parent tells it what to do, and it ends when the parent does."""
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _begin_in_pool() -> None:
    end_with_parent()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # clears away what is half done; silent where it is idle


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
