"""Baselines that stand on the common base: nnUDATrainerEntropy, MeanTeacher and MIC, DA5, styles of the target, AdaBN."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from harness import make_trainer, run_epochs, started, train_steps
from methods import from_the_start
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerDA5 import nnUNetTrainerDA5
from skimage.exposure import match_histograms
from torch.nn.modules.batchnorm import _NormBase

from nnuda.losses.masked_consistency import masked_consistency
from nnuda.losses.mean_teacher import mean_teacher_consistency
from nnuda.training.outputs import finest


def settings(preset: str, **others) -> dict:
    """The term from the first step on, alone."""
    return {**from_the_start(preset), "teacher.weight": 0, **others}


def kinds(transforms: list) -> list[str]:
    return [type(getattr(transform, "transform", transform)).__name__ for transform in transforms]


def test_da5_is_nnunets_own(toy_environment):
    """Every transform of nnUNetTrainerDA5 in its order, on the source; what moves voxels serves both target views."""
    trainer = make_trainer(
        toy_environment,
        "nnUDATrainerSourceOnly",
        "2d_toy",
        "da5",
        {"training.augmentation": "da5", "teacher.weight": 1},
    )
    stock = nnUNetTrainerDA5.get_training_transforms((32, 32), (-3.0, 3.0), None, (0, 1), False, [False])
    found = trainer.get_training_transforms((32, 32), (-3.0, 3.0), None, (0, 1), False, [False])
    assert kinds(found.transforms) == kinds(stock.transforms) and "LocalGammaTransform" in kinds(found.transforms)
    trainer.initialize()
    views = trainer.target_loader().transforms
    moves = {"SpatialTransform", "Rot90Transform", "TransposeAxesTransform", "MirrorTransform"}
    assert set(kinds(views.spatial.transforms)) == moves and not moves & set(kinds(views.intensity.transforms))
    views.intensity.transforms = []
    image = torch.randn(1, 40, 40)
    for _ in range(10):
        made = views(image=image.clone(), segmentation=torch.zeros(1, 40, 40))
        assert torch.equal(made["weak"], made["strong"])


def test_da5_trains(toy_environment):
    run_epochs(
        make_trainer(toy_environment, "nnUDATrainerSourceOnly", "3d_toy", "da5_3d", {"training.augmentation": "da5"}), 1
    )


def test_source_images_have_the_histograms_of_target_images(toy_environment, monkeypatch):
    """Nothing else changes: no term, no forward of the target."""
    style = {"augmentation.style": "histogram"}
    trainer = make_trainer(toy_environment, "nnUDATrainerSourceOnly", "2d_toy", "style", style)
    assert trainer.adapts and not trainer.loss_terms
    given, seen, drawn = [], [], []
    step, forward, in_style = trainer.adaptation_step, trainer.forward_domains, trainer.in_target_style
    monkeypatch.setattr(trainer, "adaptation_step", lambda s, t: given.append((s, t)) or step(s, t))
    monkeypatch.setattr(trainer, "forward_domains", lambda s, t: seen.append((s, t)) or forward(s, t))
    monkeypatch.setattr(trainer, "in_target_style", lambda s, t: drawn.append((s, t)) or in_style(s, t))
    train_steps(trainer, 1)
    (source, target), (image_s, image_t) = seen[0], drawn[0]
    (source_before, target_before) = given[0]
    assert image_s is source_before.image and image_t is target_before.weak and source.label is source_before.label
    assert len(target.image) == 0 and not torch.equal(source.image, image_s)
    for changed, old, reference in zip(source.image, image_s, image_t):
        np.testing.assert_allclose(changed[0], match_histograms(old[0].numpy(), reference[0].numpy()), atol=1e-4)


def test_style_leaves_teacher_and_labels_as_they_are(toy_environment):
    fourier = {"augmentation.style": "fourier", "augmentation.style_probability": 0.5, "teacher.weight": 1}
    run_epochs(make_trainer(toy_environment, "nnUDATrainerSourceOnly", "3d_toy", "fourier", fourier), 1)


def test_the_mean_teachers_consistency_is_between_the_views(toy_environment):
    trainer, source, target, outputs = started(
        toy_environment, "nnUDATrainerMeanTeacher", "mean_teacher", settings("mean_teacher")
    )
    assert trainer.teacher is not None and trainer.active("consistency") and not trainer.active("teacher")
    losses = trainer.adaptation_losses(source, target, outputs)
    with torch.no_grad():
        expected = mean_teacher_consistency(finest(trainer.network(target.image)), trainer.teacher(target.weak))
    torch.testing.assert_close(losses["consistency"].detach(), expected)


@pytest.mark.parametrize("restart", [True, False])
def test_the_teacher_restarts_with_the_first_term_that_reads_it(toy_environment, restart):
    late = {**settings("mean_teacher"), "mean_teacher.consistency.start": 0.5, "teacher.restart": restart}
    trainer = make_trainer(toy_environment, "nnUDATrainerMeanTeacher", "2d_toy", f"restart_{restart}", late)
    train_steps(trainer, 2)
    trainer.current_epoch, trainer.step_in_epoch = 1, 0  # of two epochs: the term begins
    assert trainer.teacher_begins
    before = int(trainer.teacher.steps)
    trainer.train_step(next(trainer.dataloader_train))
    assert int(trainer.teacher.steps) == (2 if restart else before + 1)
    assert not trainer.teacher_begins


def test_mic_learns_the_teachers_labels_of_the_whole_image_on_the_masked_one(toy_environment):
    """The network sees blocks of zeros in the strong view; their labels are those of the weak view."""
    masked = settings("mic", **{"mic.masked.threshold": 0.34, "mic.masked.ratio": 0.5})
    trainer, source, target, _ = started(toy_environment, "nnUDATrainerMIC", "mic", masked)
    seen = []
    trainer.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    outputs = trainer.forward_domains(source, target)
    image = seen[0][len(source.image) :]
    share = (image == 0).float().mean()
    assert 0.1 < share < 0.9 and torch.equal(image[image != 0], target.image[image != 0])
    losses = trainer.adaptation_losses(source, target, outputs)
    with torch.no_grad():
        expected = masked_consistency(finest(trainer.network(image)), trainer.teacher(target.weak), 0.34)
    torch.testing.assert_close(losses["masked"].detach(), expected)
    assert expected > 0


def test_advents_discriminator_and_network_pull_apart(toy_environment):
    advent = settings(
        "entropy",
        **{
            "entropy.minimisation.weight": 0,
            "entropy.adversary.weight": 0.001,
            "entropy.discriminator.channels": 4,
        },
    )
    trainer, source, target, outputs = started(toy_environment, "nnUDATrainerEntropy", "advent", advent)
    losses = trainer.adaptation_losses(source, target, outputs)
    assert losses.keys() == {"adversary"}
    losses["adversary"].backward()
    assert all(parameter.grad is None for parameter in trainer.adversary.parameters())
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in trainer.network.parameters())


@pytest.mark.parametrize("configuration", ["2d_toy", "3d_toy"])
def test_there_are_no_statistics_that_adabn_could_take_from_the_target(toy_environment, configuration):
    """nnU-Net normalises each image by itself, in training and in prediction (documentation/explanation/baselines.md)."""
    trainer = make_trainer(toy_environment, "nnUDATrainerSourceOnly", configuration, f"adabn_{configuration}")
    trainer.initialize()
    norms = [module for module in trainer.network.modules() if isinstance(module, _NormBase)]
    assert norms and not any(module.track_running_stats for module in norms)
    assert not list(trainer.network.buffers())
    image = torch.randn(2, 1, *trainer.configuration_manager.patch_size)
    with torch.no_grad():
        training = finest(trainer.network.train()(image))
        torch.testing.assert_close(finest(trainer.network.eval()(image)), training, rtol=0, atol=0)
        alone = finest(trainer.network(image[:1]))
    torch.testing.assert_close(alone, training[:1], rtol=0, atol=1e-5)  # no other image of the batch matters
