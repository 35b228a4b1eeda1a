"""The trainer of similarity-based prototypes, on toy data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from harness import learns, make_trainer, run_epochs, started
from matplotlib import image

from nnuda.data.domain_batch import TargetBatch
from nnuda.training.init_from import init_from

SINGLE = {"prototypes.target.start": 0, "prototypes.target.confidence": 0.0, "prototypes.contrast.start": 0}
CYCLE = {
    **SINGLE,
    "prototypes.form": "cycle",
    "prototypes.discriminator.channels": 4,
    "prototypes.segmentation_adversary.start": 0,
    "prototypes.segmentation_adversary.ramp": 0,
    "prototypes.translated.start": 0,
}


@pytest.mark.parametrize("settings", [SINGLE, CYCLE], ids=["single", "cycle"])
def test_terms_train_and_dictionaries_fill_after_the_loss(toy_environment, settings):
    trainer, source, target, outputs = started(
        toy_environment, "nnUDATrainerPrototypes", f"proto_fill_{settings.get('prototypes.form')}", settings
    )
    first = trainer.adaptation_losses(source, target, outputs)
    assert first["contrast"] == 0 and first["similarity"] > 0  # nothing to compare with yet
    pushed = {domain: dictionary.pushed.clone() for domain, dictionary in trainer.statistics.items()}
    assert all(count.sum() > 0 for count in pushed.values())
    again = trainer.adaptation_losses(source, target, trainer.forward_domains(source, target))
    assert again["contrast"] > 0
    sum(again.values()).backward()
    assert learns(trainer.bare_network.encoder)


def test_single_exports_nnunets_network_and_keeps_the_head_beside(toy_environment):
    trainer, *_ = started(toy_environment, "nnUDATrainerPrototypes", "proto_beside", SINGLE)
    assert list(trainer.extra_modules) == ["embedding"] and len(trainer.adversary) == 0
    assert not any("embedding" in name for name in trainer.bare_network.state_dict())


def test_the_targets_prototypes_wait(toy_environment):
    trainer, source, target, outputs = started(
        toy_environment, "nnUDATrainerPrototypes", "proto_wait", {**SINGLE, "prototypes.target.start": 0.5}
    )
    trainer.adaptation_losses(source, target, outputs)
    assert trainer.statistics["source"].pushed.sum() > 0 and trainer.statistics["target"].pushed.sum() == 0


def test_the_cycles_dictionaries_hold_labelled_prototypes_only(toy_environment):
    """x_s and x_{s->t} have the same labels, whatever the network makes of the target."""
    trainer, source, target, outputs = started(toy_environment, "nnUDATrainerPrototypes", "proto_labelled", CYCLE)
    trainer.adaptation_losses(source, target, outputs)
    assert torch.equal(trainer.statistics["source"].pushed, trainer.statistics["target"].pushed)


def test_generators_and_discriminators_learn_from_their_own_losses(toy_environment):
    trainer, source, target, outputs = started(toy_environment, "nnUDATrainerPrototypes", "proto_own", CYCLE)
    losses = trainer.adaptation_losses(source, target, outputs)
    (losses["image_adversary"] + losses["segmentation_adversary"]).backward(retain_graph=True)
    assert (
        learns(trainer.bare_network.generator_s)
        and learns(trainer.bare_network.generator_t)
        and not learns(trainer.adversary)
    )
    trainer.network.zero_grad()
    sum(trainer.adversary_losses(source, target, outputs).values()).backward()
    assert not learns(trainer.network) and all(
        learns(trainer.adversary[name]) for name in ("image_s", "image_t", "segmentation")
    )


def test_translated_images_wait_for_the_translators(toy_environment):
    trainer, source, target, outputs = started(
        toy_environment, "nnUDATrainerPrototypes", "proto_warm", {**CYCLE, "prototypes.translated.start": 0.5}
    )
    losses = trainer.adaptation_losses(source, target, outputs)
    assert "translated" not in losses and {"cycle", "image_adversary"} <= set(losses)


def test_discriminators_do_not_learn_from_what_overflowed(toy_environment):
    trainer, source, target, outputs = started(toy_environment, "nnUDATrainerPrototypes", "proto_overflow", CYCLE)
    before = {name: value.clone() for name, value in trainer.adversary.state_dict().items()}
    broken = TargetBatch(target.image, torch.full_like(target.weak, torch.nan))
    trainer.adversary_step(source, broken, outputs)
    assert all(torch.equal(value, before[name]) for name, value in trainer.adversary.state_dict().items())
    trainer.adversary_step(source, target, outputs)
    assert not torch.equal(trainer.adversary.state_dict()[next(iter(before))], before[next(iter(before))])


@pytest.mark.parametrize("off, left", [("image", {"segmentation"}), ("segmentation", {"image_s", "image_t"})])
def test_a_discriminator_goes_with_its_term(toy_environment, off, left):
    trainer, source, target, outputs = started(
        toy_environment,
        "nnUDATrainerPrototypes",
        f"proto_off_{off}",
        {**CYCLE, f"prototypes.{off}_adversary.weight": 0},
    )
    assert set(trainer.adversary) == left
    assert f"{off}_adversary" not in trainer.adaptation_losses(source, target, outputs)
    assert set(trainer.adversary_losses(source, target, outputs)) == {
        f"{left.copy().pop().split('_')[0]}_discriminator"
    }


def test_a_step_moves_everything_once(toy_environment):
    trainer, *_ = started(toy_environment, "nnUDATrainerPrototypes", "proto_step", CYCLE)
    before = {name: value.clone() for name, value in trainer.adversary.state_dict().items()}
    trainer.train_step(next(trainer.dataloader_train))
    assert any(not torch.equal(before[name], value) for name, value in trainer.adversary.state_dict().items())
    steps = {int(state["step"]) for state in trainer.adversary_optimizer.state_dict()["state"].values()}
    assert steps == {1}


def test_validation_sees_source_images_and_prediction_target_images(toy_environment):
    trainer, source, *_ = started(toy_environment, "nnUDATrainerPrototypes", "proto_domain", CYCLE)
    trainer.train_step(next(trainer.dataloader_train))  # both generators start alike
    trainer.set_deep_supervision_enabled(False)
    network = trainer.bare_network.eval()
    with torch.no_grad():
        target_way = network(source.image)
        with trainer.on_source_images():
            source_way = network(source.image)
        assert torch.equal(network(source.image), target_way) and not torch.equal(source_way, target_way)


def test_a_plain_nnunet_starts_both_generators(toy_environment):
    plain = make_trainer(toy_environment, "nnUDATrainerSourceOnly", "2d_toy", "proto_plain", {"training.seed": 5})
    plain.on_train_start()
    path = f"{plain.output_folder}/checkpoint_final.pth"
    plain.save_checkpoint(path)
    trainer, *_ = started(
        toy_environment, "nnUDATrainerPrototypes", "proto_init", {**CYCLE, "training.init_from": path}
    )
    expected = plain.network.state_dict()
    for generator in (trainer.bare_network.generator_s, trainer.bare_network.generator_t):
        own = generator.state_dict()
        assert all(torch.equal(own[name], value) for name, value in expected.items())
        assert init_from(generator, path).startswith(f"training.init_from: took {len(expected)} of")


def test_pictures_of_the_translations_and_the_health_signal(toy_environment):
    trainer = make_trainer(
        toy_environment,
        "nnUDATrainerPrototypes",
        "2d_toy",
        "proto_pictures",
        {**CYCLE, "training.num_epochs": 2, "prototypes.pictures.every": 1},
    )
    run_epochs(trainer, 2)
    for epoch in range(2):
        assert image.imread(f"{trainer.output_folder}/pictures/translations/epoch_{epoch:04d}.png").std() > 0.05
    logged = trainer.logger.local_logger.my_fantastic_logging
    for kind in ("image", "segmentation"):
        accuracy = np.array(logged[f"nnUDA/{kind}_discriminator_accuracy"])
        assert ((0 <= accuracy) & (accuracy <= 1)).all() and np.isfinite(logged[f"nnUDA/{kind}_discriminator"]).all()


def test_each_column_of_the_pictures_is_what_a_generator_makes_of_the_one_before(toy_environment):
    trainer, source, target, _ = started(toy_environment, "nnUDATrainerPrototypes", "proto_columns", CYCLE)
    columns, network = list(trainer.translated.values()), trainer.bare_network
    assert torch.equal(columns[0], source.image[:4]) and torch.equal(columns[3], target.weak[:4])
    order = [network.generator_s, network.generator_t, network.generator_t, network.generator_s]
    with torch.no_grad():
        for place, generator in zip((0, 1, 3, 4), order):
            torch.testing.assert_close(columns[place + 1], generator(columns[place]).image)


def test_with_strong_augmentation_the_cycle_learns_what_source_images_look_like(toy_environment):
    """Its real images are the source's own; the strong view is segmented, and goes nowhere else."""
    strong = {"training.augmentation": "strong", "augmentation.curve_probability": 1.0}
    trainer, source, target, outputs = started(
        toy_environment, "nnUDATrainerPrototypes", "proto_strong", {**CYCLE, **strong}
    )
    assert source.weak.shape == source.image.shape and not torch.allclose(source.weak, source.image, atol=0.1)
    real = {}
    trainer.adversary["image_s"].register_forward_pre_hook(lambda _, images: real.setdefault("image_s", images[0]))
    losses = trainer.adaptation_losses(source, target, outputs)
    real.clear()
    trainer.adversary_losses(source, target, outputs)
    assert torch.equal(real["image_s"], source.weak)

    cycle, network = outputs.extra["cycle"], trainer.bare_network
    with torch.no_grad():
        alone = network(source.weak, x_t=target.weak)
        strong_logits = network.generator_s(source.image).logits
    back = (cycle.source_in_target.image - source.weak).abs().mean() + (
        cycle.target_in_source.image - target.weak
    ).abs().mean()
    torch.testing.assert_close(losses["cycle"], back)
    torch.testing.assert_close(cycle.source.image, alone.source.image)
    torch.testing.assert_close(outputs.source[0], strong_logits[0])
    assert not torch.allclose(outputs.source[0], alone.source.logits[0], atol=1e-3)
    assert torch.equal(trainer.translated["x_s"], source.weak[:4])


@pytest.mark.parametrize(
    "settings", [{**CYCLE, "training.augmentation": "nnunet"}, {**SINGLE, "training.augmentation": "strong"}]
)
def test_the_weak_source_is_made_where_it_is_read(toy_environment, settings):
    trainer, source, *_ = started(
        toy_environment, "nnUDATrainerPrototypes", f"proto_no_weak_{settings['training.augmentation']}", settings
    )
    assert source.weak is None and source.image.shape[1] == trainer.num_input_channels
