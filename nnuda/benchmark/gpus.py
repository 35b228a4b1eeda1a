"""A GPU of its own for each run on this machine, as long as there are enough."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from nnuda.files import LockedError, locked

VISIBLE = "CUDA_VISIBLE_DEVICES"


@contextmanager
def own_gpu(folder: str, device: str) -> Iterator[None]:
    """Within the block, commands see one GPU that no other run of this benchmark has; where all are taken, all of them.

    Args:
        folder: of the benchmark.
        device: "cuda", else nothing is done; a job of SLURM's has its GPU already.
    """
    several = visible_gpus() if device == "cuda" and "SLURM_JOB_ID" not in os.environ else []
    before = os.environ.get(VISIBLE)
    with ExitStack() as held:
        for gpu in several if len(several) > 1 else []:
            try:
                held.enter_context(locked(os.path.join(folder, "gpus", f"{gpu}.lock"), f"GPU {gpu}"))
            except LockedError:
                continue
            os.environ[VISIBLE] = gpu
            break
        try:
            yield
        finally:
            os.environ.pop(VISIBLE, None)
            if before is not None:
                os.environ[VISIBLE] = before


def visible_gpus() -> list[str]:
    """As CUDA_VISIBLE_DEVICES names them."""
    if VISIBLE in os.environ:
        return [name.strip() for name in os.environ[VISIBLE].split(",") if name.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]
