"""Regions and the ignore label: nnU-Net's own rule for its subclasses."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from harness import make_trainer, run_epochs
from methods import methods, settings_of
from toy import CPU, SOURCE, TARGET, Toy, write_dataset

from nnuda.data.domain_batch import to_device
from nnuda.labels import foreground_masks

SETTINGS = {"training.num_epochs": 2, "teacher.weight": 1, "teacher.start": 0}
VARIANTS = {
    "ignore": {"labels": {"background": 0, "left box": 1, "right box": 2, "ignore": 3}},
    "regions": {"labels": {"background": 0, "both": [1, 2], "right box": 2}, "extra": {"regions_class_order": [1, 2]}},
    "regions_ignore": {
        "labels": {"background": 0, "both": [1, 2], "right box": 2, "ignore": 3},
        "extra": {"regions_class_order": [1, 2]},
    },
}


@pytest.fixture(scope="session", params=VARIANTS)
def variant(request, tmp_path_factory) -> Toy:
    made = Toy(tmp_path_factory.mktemp(request.param))
    write_dataset(made.raw / SOURCE, labelled=True, inverted=False, **VARIANTS[request.param])
    write_dataset(made.raw / TARGET, labelled=False, inverted=True)
    if "ignore" in request.param:
        for path in (made.raw / SOURCE / "labelsTr").iterdir():
            label = sitk.ReadImage(str(path))
            array = sitk.GetArrayFromImage(label)
            array[:, :8] = 3
            changed = sitk.GetImageFromArray(array)
            changed.CopyInformation(label)
            sitk.WriteImage(changed, str(path))
    made.plan()
    return made


TRANSMEDSEG = {
    "transmedseg.statistics.confidence": 0.3,
    "transmedseg.copy_paste.weight": 1,
    "transmedseg.copy_paste.start": 0,
}
METHODS = methods("labels")


@pytest.mark.parametrize("name", METHODS)
def test_trains(variant, monkeypatch, name):
    for variable, value in {**CPU, **variant.folders}.items():
        monkeypatch.setenv(variable, value)
    method = METHODS[name]
    made = make_trainer(
        variant,
        method.trainer,
        method.configuration,
        f"labels_{name}",
        {**settings_of(method), "training.num_epochs": 2},
    )
    run_epochs(made, 1)
    logged = made.logger.local_logger.my_fantastic_logging
    # a class has no distance between the domains where the target was never predicted to show it
    names = [name for name in made.logged_names() if not name.startswith("distance/")]
    assert all(math.isfinite(logged[f"nnUDA/{name}"][0]) for name in names)
    record = made.selection.history.epochs[0]
    assert len(record["class_shares"]) == len(made.selection.rule["source_shares"]) == 2 and math.isfinite(
        record["entropy"]
    )
    labels = json.loads((variant.preprocessed / "dataset.json").read_text())["labels"]
    expected = 2 if any(isinstance(value, list) for value in labels.values()) else 3
    assert (
        made.bare_network.decoder.seg_layers[-1].out_channels == expected == made.label_manager.num_segmentation_heads
    )


def test_uuds_masks_know_neither_background_nor_ignore(variant, monkeypatch):
    for name, value in {**CPU, **variant.folders}.items():
        monkeypatch.setenv(name, value)
    made = make_trainer(variant, "nnUDATrainerUUDS", "2d_toy", "masks", SETTINGS)
    made.initialize()
    loader, _ = made.get_dataloaders()
    label = next(loader)["target"][0]
    masks = foreground_masks(label, made.label_manager)
    assert len(masks) == 2 and all(
        mask.shape == label[:, 0].shape and mask.dtype == bool for mask in map(np.asarray, masks)
    )
    if not made.label_manager.has_regions:
        assert not any((mask & (label[:, 0] == 3)).any() for mask in masks)
        assert all((label[:, 0][mask] == value).all() for value, mask in zip((1, 2), masks))


def test_transmedseg_starts_as_nnunets_loss(variant, monkeypatch):
    for name, value in {**CPU, **variant.folders}.items():
        monkeypatch.setenv(name, value)
    made = make_trainer(variant, "nnUDATrainerTransMedSeg", "2d_toy", "tms_start", {**SETTINGS, **TRANSMEDSEG})
    made.on_train_start()
    made.on_epoch_start()
    made.on_train_epoch_start()
    source, target = to_device(next(made.dataloader_train), torch.device("cpu"))
    outputs = made.forward_domains(source, target)
    terms = made.source_loss(outputs.source, source) + made.adaptation_losses(source, target, outputs)["tsa"]
    torch.testing.assert_close(terms, made.loss(outputs.source, source.label))
