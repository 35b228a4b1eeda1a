"""TransMedSeg's own parts, on toy data."""

from __future__ import annotations

import pytest
import torch
from harness import make_trainer

from nnuda.data.domain_batch import to_device
from nnuda.settings import SettingsError
from nnuda.training.outputs import finest

CPU = torch.device("cpu")
OPEN = {"transmedseg.statistics.confidence": 0.0, "teacher.start": 0, "teacher.ramp": 0}


def started(toy, name: str, **settings):
    """A trainer before its first step, a batch, and the network's outputs for it."""
    settings = {key.replace("__", "."): value for key, value in settings.items()}
    trainer = make_trainer(toy, "nnUDATrainerTransMedSeg", "2d_toy", f"tms_{name}", {**OPEN, **settings})
    trainer.on_train_start()
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()
    source, target = to_device(next(trainer.dataloader_train), CPU)
    return trainer, source, target, trainer.forward_domains(source, target)


def test_at_the_start_the_two_terms_are_nnunets_loss(toy_environment):
    trainer, source, target, outputs = started(toy_environment, "start")
    assert trainer.progress == 0
    expected = trainer.loss(outputs.source, source.label)
    tsa = trainer.adaptation_losses(source, target, outputs)["tsa"]
    torch.testing.assert_close(trainer.source_loss(outputs.source, source) + tsa, expected)
    assert tsa > 0.1


@pytest.mark.parametrize("weight", [0.1, 0.5, 1.0])
def test_a_weight_moves_between_cross_entropy_and_tsa(toy_environment, weight):
    """While lambda is 0 the two are equal, so that the supervised loss is nnU-Net's whatever the weight."""
    trainer, source, target, outputs = started(toy_environment, f"weight_{weight}", transmedseg__tsa__weight=weight)
    expected = trainer.loss(outputs.source, source.label)
    tsa = trainer.adaptation_losses(source, target, outputs)["tsa"]
    torch.testing.assert_close(trainer.source_loss(outputs.source, source) + weight * tsa, expected)


def test_beside_the_cross_entropy_nothing_is_taken_away(toy_environment):
    trainer, source, target, outputs = started(toy_environment, "add", transmedseg__tsa__mode="add")
    torch.testing.assert_close(trainer.source_loss(outputs.source, source), trainer.loss(outputs.source, source.label))
    label, logits = finest(source.label)[:, 0].long(), finest(outputs.source)
    torch.testing.assert_close(
        trainer.adaptation_losses(source, target, outputs)["tsa"], torch.nn.functional.cross_entropy(logits, label)
    )


def test_lambda_grows_from_0_to_lambda_0(toy_environment):
    trainer, source, target, outputs = started(toy_environment, "schedule")
    trainer.update_statistics(source, outputs)
    assert trainer.table().abs().max() == 0
    trainer.num_epochs, tables = 4, {}
    for epoch in (1, 2, 4):
        trainer.current_epoch = epoch
        tables[epoch] = trainer.table()
    assert tables[4].abs().max() > 0
    torch.testing.assert_close(tables[4], 4 * tables[1])
    torch.testing.assert_close(tables[2], 2 * tables[1])


@pytest.mark.parametrize("source_of_statistics", ["student", "teacher"])
def test_statistics_are_those_of_the_features_and_labels(toy_environment, source_of_statistics):
    trainer, source, _, outputs = started(
        toy_environment, f"statistics_{source_of_statistics}", transmedseg__statistics__source=source_of_statistics
    )
    with torch.no_grad():
        for parameter in trainer.teacher.network.parameters():
            parameter.mul_(1.1)
    trainer.update_statistics(source, outputs)
    network = trainer.bare_network if source_of_statistics == "student" else trainer.teacher.network
    features = network(source.image, with_features=True).features.detach().movedim(1, -1)
    label, memory = finest(source.label)[:, 0], trainer.statistics["source"]
    for c in range(3):
        voxels = features[label == c]
        assert memory.count[c] == len(voxels) > 0
        torch.testing.assert_close(memory.mean[c], voxels.mean(0), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(memory.covariance[c], torch.cov(voxels.T, correction=0), rtol=1e-3, atol=1e-5)
    assert trainer.statistics["target"].count.sum() > 0


def test_towards_the_student_only_the_classifier_learns(toy_environment):
    trainer, source, target, outputs = started(
        toy_environment, "direction", transmedseg__tsa__mode="add", transmedseg__tsa__direction="teacher_to_student"
    )
    trainer.adaptation_losses(source, target, outputs)["tsa"].backward()
    learns = {
        name
        for name, parameter in trainer.bare_network.named_parameters()
        if parameter.grad is not None and parameter.grad.any()
    }
    last = f"decoder.seg_layers.{len(trainer.bare_network.decoder.seg_layers) - 1}"
    assert learns == {f"{last}.weight", f"{last}.bias"}


def test_by_default_the_encoder_learns_too(toy_environment):
    trainer, source, target, outputs = started(toy_environment, "encoder")
    trainer.adaptation_losses(source, target, outputs)["tsa"].backward()
    assert all(
        parameter.grad.any()
        for name, parameter in trainer.bare_network.encoder.named_parameters()
        if name.endswith("conv.weight")
    )
    assert not any(parameter.grad is not None for parameter in trainer.teacher.parameters())


def test_directions_that_have_nothing_to_replace_are_refused(toy_environment):
    with pytest.raises(SettingsError, match="transmedseg.tsa.mode=add, got replace"):
        make_trainer(
            toy_environment,
            "nnUDATrainerTransMedSeg",
            "2d_toy",
            "tms_refused",
            {"transmedseg.tsa.direction": "teacher_to_student"},
        )


def test_without_lambda_the_mean_teacher_is_left(toy_environment):
    trainer, source, target, outputs = started(toy_environment, "alone", transmedseg__tsa__strength=0)
    assert list(trainer.loss_terms) == ["teacher"] and len(trainer.statistics) == 0
    assert trainer.adaptation_losses(source, target, outputs) == {}
    assert torch.equal(trainer.source_loss(outputs.source, source), trainer.loss(outputs.source, source.label))
