from __future__ import annotations

import pytest
import torch
from harness import differences, make_trainer
from torch import nn

from nnuda.training.teacher import EmaTeacher, decay_for


def student() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))


def set_all(module: nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)


def weight(teacher: EmaTeacher) -> float:
    values = torch.cat([parameter.flatten() for parameter in teacher.network.parameters()])
    assert (values == values[0]).all()
    return values[0].item()


def test_closed_form_of_three_updates():
    """alpha_t = min(1 - 1/(t + 1), 0.6): 0, 1/2, 0.6."""
    network = student()
    teacher = EmaTeacher(network, decay=0.6)
    for value, expected in ((1.0, 1.0), (4.0, 2.5), (8.0, 0.6 * 2.5 + 0.4 * 8)):
        set_all(network, value)
        teacher.update(network)
        assert weight(teacher) == pytest.approx(expected, rel=1e-6)
    assert int(teacher.steps) == 3


def test_a_restart_forgets_what_was_averaged():
    network = student()
    teacher = EmaTeacher(network, decay=0.6)
    for value in (1.0, 2.0, 3.0):
        set_all(network, value)
        teacher.update(network)
    set_all(network, 8.0)
    teacher.restart(network)
    assert weight(teacher) == 8.0
    set_all(network, 4.0)
    teacher.update(network)  # alpha = 1 - 1/2, as at the start of a training
    assert weight(teacher) == pytest.approx(6.0)


@pytest.mark.parametrize(
    "iterations, decay",
    [(2, 0.9), (200, 0.95), (1000, 0.99), (1600, 0.99), (2000, 0.99), (20000, 0.999), (250000, 0.9995)],
)
def test_the_horizon_is_a_twentieth_of_the_training_and_a_tenth_of_a_short_one(iterations, decay):
    assert decay_for(iterations) == pytest.approx(decay)


def test_the_first_update_takes_the_student_whole():
    network = student()
    teacher = EmaTeacher(network, decay=0.99)
    set_all(network, 1 / 3)
    teacher.update(network)
    assert all(torch.equal(a, b) for a, b in zip(teacher.network.state_dict().values(), network.state_dict().values()))


def test_buffers_are_copied_not_averaged():
    network = student()
    teacher = EmaTeacher(network, decay=0.99)
    for _ in range(3):
        network(torch.randn(4, 1, 5, 5) + 3)
        teacher.update(network)
    assert (
        torch.equal(teacher.network[1].running_mean, network[1].running_mean)
        and int(teacher.network[1].num_batches_tracked) == 3
    )


def test_the_student_is_left_alone_and_nothing_is_learnt():
    network = student()
    teacher = EmaTeacher(network, decay=0.9)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    teacher.update(network)
    set_all(teacher.network, 5.0)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not teacher(torch.randn(2, 1, 4, 4, requires_grad=True)).requires_grad


def test_batch_norm_predicts_with_running_statistics():
    network = student().train()
    teacher = EmaTeacher(network, decay=0.9)
    image = torch.randn(4, 1, 5, 5) * 9
    assert torch.equal(teacher(image), network.eval()(image))
    assert int(teacher.network[1].num_batches_tracked) == 0


def test_deep_supervision_gives_the_full_resolution():
    class Deep(nn.Module):
        def forward(self, image):
            return [image, image[..., ::2, ::2]]

    image = torch.randn(1, 1, 4, 4)
    assert torch.equal(EmaTeacher(Deep(), 0.9)(image), image)


def test_a_reloaded_teacher_continues_with_its_step_count():
    network = student()
    teacher = EmaTeacher(network, decay=0.9)
    for _ in range(2):
        teacher.update(network)
    other = EmaTeacher(student(), decay=0.9)
    other.load_state_dict(teacher.state_dict())
    set_all(network, 2.0)
    for one in (teacher, other):
        one.update(network)
    assert int(other.steps) == 3
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in teacher.state_dict().items())


def test_the_teacher_starts_from_the_initial_weights(toy_environment, tmp_path):
    """Its first labels come before its first update."""
    settings = {"teacher.weight": 1, "training.seed": 5}
    plain = make_trainer(toy_environment, "nnUNetTrainer", "2d_toy", "teacher_plain")
    plain.initialize()
    torch.save({"network_weights": plain.network.state_dict()}, tmp_path / "plain.pth")
    trainer = make_trainer(
        toy_environment,
        "nnUDATrainerSourceOnly",
        "2d_toy",
        "teacher_init",
        {**settings, "training.init_from": str(tmp_path / "plain.pth")},
    )
    trainer.on_train_start()
    assert differences(trainer.teacher.network.state_dict(), plain.network.state_dict()) == []
