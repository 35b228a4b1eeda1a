"""One function over many cases with a progress bar: in this process, or in a pool of processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
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
        return [function(*a) for a in tqdm(arguments, desc=description, unit="case", disable=not progress)]
    with ProcessPoolExecutor(min(num_processes, len(arguments)), mp_context=_context(preload)) as pool:
        futures = [pool.submit(function, *a) for a in arguments]
        try:
            for future in tqdm(
                as_completed(futures), total=len(futures), desc=description, unit="case", disable=not progress
            ):
                future.result()
        except BrokenProcessPool as error:
            raise WorkerDied(
                f"{description}: a worker process died, most often for lack of memory. Use fewer with -np."
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]


def _context(preload: Sequence[str]) -> BaseContext:
    """Neither of both forks a process in which torch runs threads."""
    if not preload or "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context
