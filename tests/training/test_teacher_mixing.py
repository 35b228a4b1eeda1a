"""`teacher.mixing`: boxes of annotated source images in the target's strong views."""

from __future__ import annotations

import pytest
import torch
from harness import make_trainer
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnuda.data.domain_batch import to_device
from nnuda.data.mixing import paste_boxes
from nnuda.labels import certain_logits
from nnuda.losses.confident_pseudo_label import confident_pseudo_label_loss

LABELS = {"background": 0, "a": 1, "b": 2}


@pytest.mark.parametrize("size", [(8, 10), (4, 8, 10)])
def test_a_box_of_the_source_and_the_rest_of_the_target(size):
    source, target = torch.full((2, 1, *size), 5.0), torch.zeros(3, 1, *size)
    mixed = paste_boxes(source, target, 0.5, 1.0)
    assert torch.equal(mixed.image[:, 0] == 5, mixed.from_source) and not mixed.from_source[2].any()
    assert (mixed.from_source[:2].flatten(1).sum(1) == torch.tensor(size).div(2).prod().int()).all()
    assert not target.any(), "changed in place"


def test_the_share_of_mixed_images():
    source, target = torch.ones(400, 1, 4, 4), torch.zeros(400, 1, 4, 4)
    assert not paste_boxes(source, target, 0.5, 0.0).from_source.any()
    assert 60 < int(paste_boxes(source, target, 0.5, 0.25).from_source.flatten(1).any(1).sum()) < 140


@pytest.mark.parametrize("ignore", [False, True])
def test_an_annotation_counts_wherever_it_is_not_ignored(ignore):
    manager = LabelManager(LABELS | ({"ignore": 3} if ignore else {}), None)
    label = torch.randint(0, 4 if ignore else 3, (2, 1, 6, 6))
    probability, called = certain_logits(label, manager).softmax(1).max(1)
    annotated = label[:, 0] < 3
    assert torch.equal(called[annotated], label[:, 0][annotated]) and (probability[annotated] > 0.999).all()
    assert (probability[~annotated] < 0.34).all() and bool((~annotated).any()) == ignore


def test_regions_with_an_ignore_label():
    manager = LabelManager({"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}, [1, 2])
    label = torch.randint(0, 2, (2, 3, 5, 5))
    p = certain_logits(label, manager).sigmoid()
    kept = label[:, 2:] == 0
    assert torch.equal((p > 0.5)[kept.expand(-1, 2, -1, -1)], label[:, :2].bool()[kept.expand(-1, 2, -1, -1)])
    assert (p[~kept.expand(-1, 2, -1, -1)] == 0.5).all()


def test_the_loss_on_a_mixed_view_is_annotation_here_and_pseudo_label_there(toy_environment):
    """The trainer's term against the loss on a label map put together by hand."""
    settings = {
        "training.recipe": "recommended",
        "teacher.start": 0,
        "teacher.ramp": 0,
        "teacher.mixing": 1.0,
        "teacher.confidence": 0.3,
        "teacher.threshold": "fixed",
        "teacher.deep_supervision": False,
    }
    trainer = make_trainer(toy_environment, "nnUDATrainerAdapt", "2d_toy", "mixing", settings)
    trainer.on_train_start()
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()
    source, target = to_device(next(trainer.dataloader_train), torch.device("cpu"))
    seen = {}
    forward = trainer.forward_domains

    def recorded(source, target):
        seen["target"], seen["outputs"] = target, forward(source, target)
        return seen["outputs"]

    trainer.forward_domains = recorded
    teacher = trainer.teacher(target.weak)
    trainer.adaptation_step(source, target)
    mixed = seen["target"]
    inside = mixed.from_source
    assert inside.any() and not inside.all()
    assert torch.equal(mixed.image[:, 0][inside], source.image[:, 0][inside])
    assert torch.equal(mixed.image[:, 0][~inside], target.image[:, 0][~inside])
    p, label = teacher.softmax(1).max(1)
    label = torch.where(inside, source.label[0][:, 0].long(), label)
    sure = torch.where(inside, torch.ones_like(p), p) > 0.3
    by_hand = torch.nn.functional.one_hot(label, 3).movedim(-1, 1).float() * 50 * sure[:, None]
    logits = seen["outputs"].target[0].detach()
    expected = confident_pseudo_label_loss(logits, by_hand, 0.34)
    assert trainer.epoch_means.compute(["teacher"])["teacher"] == pytest.approx(expected.item(), rel=1e-4)
