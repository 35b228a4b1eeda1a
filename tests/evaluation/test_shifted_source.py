"""Source images that are shifted for the calibration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch import nn

from nnuda.evaluation import shifted_source
from nnuda.evaluation.shifted_source import predict_shifted, shifted

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(2, 1, 20, 22), (1, 6, 20, 22)])
def test_an_image_looks_otherwise_and_keeps_its_statistics(shape):
    image, mask = RNG.normal(3, 2, shape).astype(np.float32), np.zeros((1, *shape[1:]), np.int8)
    before = image.copy()
    other = shifted(image, mask, [], 5)
    assert other.shape == shape and (image == before).all()
    axes = (1, 2, 3)
    assert np.allclose(other.mean(axes), image.mean(axes), atol=1e-3)
    assert np.allclose(other.std(axes), image.std(axes), atol=1e-3)
    for a, b in zip(other, image):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.999
    assert (other == shifted(image, mask, [], 5)).all() and not np.allclose(other, shifted(image, mask, [], 6))


def test_other_random_numbers_are_as_without_it():
    image, mask = RNG.normal(size=(1, 1, 8, 8)).astype(np.float32), np.zeros((1, 1, 8, 8), np.int8)
    np.random.seed(3)
    expected = np.random.rand(4)
    np.random.seed(3)
    shifted(image, mask, [], 5)
    assert (np.random.rand(4) == expected).all()


def test_what_is_outside_of_the_mask_does_not_count():
    """Where a channel is normalised inside the mask: its statistics are those inside."""
    image, mask = RNG.normal(size=(1, 1, 16, 16)).astype(np.float32), np.zeros((1, 1, 16, 16), np.int8)
    mask[..., :6] = -1
    image[..., :6] = 50
    inside = mask >= 0
    other = shifted(image, mask, [0], 5)
    assert other[inside].mean() == pytest.approx(image[inside].mean(), abs=1e-3)
    assert other[inside].std() == pytest.approx(image[inside].std(), abs=1e-3)


class _Plans:
    pass


class _Preprocessor:
    """Reads a .npy file."""

    def __init__(self, verbose: bool) -> None:
        pass

    def run_case(self, files, segmentation, plans, configuration, dataset_json):
        image = np.stack([np.load(file) for file in files])
        return image, np.zeros((1, *image.shape[1:]), np.int8), {"of": files}


def test_the_network_sees_the_shifted_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = RNG.normal(size=(1, 3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "c_0000.npy", image[0])
    predictor = nnUNetPredictor(device=torch.device("cpu"))
    predictor.plans_manager, predictor.dataset_json, predictor.network = _Plans(), {}, nn.Identity()
    predictor.configuration_manager = _Plans()
    predictor.configuration_manager.preprocessor_class = _Preprocessor
    predictor.configuration_manager.use_mask_for_norm = [False]
    predictor.predict_logits_from_preprocessed_data = lambda data: data * 2
    exported = []
    monkeypatch.setattr(shifted_source, "export_prediction_from_logits", lambda *args, **more: exported.append(args))
    for folder in ("one", "two"):
        predict_shifted(predictor, [str(tmp_path / "c_0000.npy")], str(tmp_path / folder / "c"))
    first, second = (args[0] for args in exported)
    assert (first == second).all() and not np.allclose(first, 2 * image)
    assert first.mean() == pytest.approx(2 * image.mean(), abs=1e-3)
    assert exported[0][1] == {"of": [str(tmp_path / "c_0000.npy")]} and exported[0][5] == str(tmp_path / "one" / "c")
