"""Run one function over many cases with a progress bar: in this process, or in a spawned pool."""
from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Callable, Sequence

from tqdm import tqdm

from nnuda.errors import NnudaError


class WorkerDied(NnudaError, RuntimeError):
    """A process of the pool ended without a result."""


def run_cases(function: Callable, arguments: Sequence[tuple], num_processes: int, description: str) -> list[Any]:
    """Call `function(*arguments[i])` for each i.

    Args:
        function: importable by name (worker processes are spawned).
        arguments: one tuple a case.
        num_processes: 1 runs here: a spawned worker takes seconds to start.
        description: of the progress bar.

    Returns:
        the results in the order of `arguments`.

    Raises:
        WorkerDied: a worker process was killed.
    """
    if not arguments:
        return []
    if num_processes <= 1 or len(arguments) == 1:
        return [function(*a) for a in tqdm(arguments, desc=description)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(num_processes, len(arguments)), mp_context=context) as pool:
        futures = [pool.submit(function, *a) for a in arguments]
        try:
            for future in tqdm(as_completed(futures), total=len(futures), desc=description):
                future.result()
        except BrokenProcessPool as error:
            raise WorkerDied(f"{description}: a worker process died, most often for lack of memory. Use fewer with "
                             "-np.") from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]
