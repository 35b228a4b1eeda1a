"""Labelled source images as another domain might show them, predicted: what a network's confidence is worth there."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence

import numpy as np
import torch
from nnunetv2.inference.export_prediction import export_prediction_from_logits
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnuda.data.strong_augmentation import strong_transforms
from nnuda.settings import defaults, load_preset
from nnuda.trainer_files import BASE

ALWAYS = {"augmentation.curve_probability": 1.0, "augmentation.convolution_probability": 1.0}


def shifted(image: np.ndarray, mask: np.ndarray, masked: Sequence[int], seed: int) -> np.ndarray:
    """A preprocessed image through a random intensity curve and a random convolution network, as strong augmentation
    draws them.

    Args:
        image: (C, *S), normalised.
        mask: (1, *S), negative outside of nnU-Net's mask.
        masked: channels that are normalised inside the mask.
        seed: of the draw.

    Returns:
        (C, *S); each channel keeps its mean and standard deviation.
    """
    data = {"image": torch.from_numpy(image), "segmentation": torch.from_numpy(mask)}
    before = np.random.get_state()  # the transforms draw from NumPy's global numbers
    np.random.seed(seed)
    try:
        for transform in strong_transforms({**defaults(load_preset(BASE), "recommended"), **ALWAYS}, masked):
            data = transform(**data)
    finally:
        np.random.set_state(before)
    return data["image"].numpy()


def predict_shifted(predictor: nnUNetPredictor, files: Sequence[str], output: str) -> None:
    """What `nnUNetPredictor.predict_from_files_sequential` does for one case, with the image shifted after the
    preprocessing. The same case is always shifted in the same way.

    Args:
        predictor: with the plan that normalises source images.
        files: of the case, one a channel.
        output: label file without ending; probabilities and properties come beside it.
    """
    plans, configuration = predictor.plans_manager, predictor.configuration_manager
    preprocessor = configuration.preprocessor_class(verbose=False)
    image, mask, properties = preprocessor.run_case(list(files), None, plans, configuration, predictor.dataset_json)
    masked = [channel for channel, inside in enumerate(configuration.use_mask_for_norm) if inside]
    image = shifted(image, mask, masked, zlib.crc32(os.path.basename(output).encode()))
    logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(image)).cpu()
    export_prediction_from_logits(
        logits, properties, configuration, plans, predictor.dataset_json, output, save_probabilities=True
    )
