from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2, nnUNetDatasetNumpy


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    np.random.seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def write_cases(tmp_path) -> Callable[..., Path]:
    """Preprocessed cases without labels, as nnU-Net writes them; case i is 10 * (i + 1) everywhere, its seg -1 in the
    first rows, 0 elsewhere."""

    def write(shapes: list[tuple[int, ...]], channels: int = 1, old_format: bool = False) -> Path:
        for i, shape in enumerate(shapes):
            image = np.full((channels, *shape), 10.0 * (i + 1), np.float32)
            nonzero = np.zeros((1, *shape), np.int8)
            nonzero[:, :, :2] = -1
            if old_format:
                nnUNetDatasetNumpy.save_case(image, nonzero, {}, str(tmp_path / f"case{i}"))
            else:
                nnUNetDatasetBlosc2.save_case(
                    image,
                    nonzero,
                    {},
                    str(tmp_path / f"case{i}"),
                    chunks=image.shape,
                    blocks=image.shape,
                    chunks_seg=nonzero.shape,
                    blocks_seg=nonzero.shape,
                )
        return tmp_path

    return write
