"""The random state of a training process, as tensors and Python builtins."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def get_random_state() -> dict[str, Any]:
    """Present state of Python's, NumPy's, torch's and, where a GPU is in use, CUDA's generator."""
    name, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, keys.tolist(), position, has_gauss, cached),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
    }


def check_random_state(state: dict[str, Any]) -> None:
    """Raise what `set_random_state` would, and leave the present state."""
    present = get_random_state()
    set_random_state(state)
    set_random_state(present)


def set_random_state(state: dict[str, Any]) -> None:
    """Put back what `get_random_state` returned."""
    version, values, gauss = state["python"]
    random.setstate((version, tuple(values), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())
