"""The trainer of TCSA-UDA, on toy data."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from harness import learns, make_trainer, run_epochs, started
from matplotlib import image
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnuda.cli import configure
from nnuda.losses.covariance_cosine import covariance_cosine
from nnuda.settings import SettingsError
from nnuda.text.class_embeddings import ClassTextsError
from nnuda.training.frozen import FrozenConfigurationError
from nnuda.training.outputs import finest

OPEN = {"tcsa.text.start": 0, "tcsa.prototypes.start": 0, "tcsa.target.confidence": 0}
FUSION = {**OPEN, "tcsa.fusion": True, "tcsa.fusion.width": 8}
ADVERSARY = {**OPEN, "tcsa.adversary.weight": 0.003, "tcsa.adversary.start": 0, "tcsa.discriminator.channels": 4}


def forget(trainer) -> None:
    for name, memory in trainer.statistics.items():
        if name != "text":
            memory.reset()


def class_means(features: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """(K, A), voxel by voxel."""
    return torch.stack([features.movedim(1, -1)[label == k].mean(0) for k in range(3)])


# ---- L_VLC ------------------------------------------------------------------------------------------


def test_the_text_term_changes_the_network_and_never_the_text(toy_environment):
    """In the authors' release no gradient of the term reaches a weight that is updated."""
    trainer, source, target, outputs = started(
        toy_environment, "nnUDATrainerTCSA", "tcsa_guard", {**OPEN, "tcsa.prototypes.weight": 0}
    )
    trainer.optimizer.zero_grad()
    text = trainer.statistics["text"].weight
    before = {"text": text.clone(), **{name: p.detach().clone() for name, p in trainer.network.named_parameters()}}
    loss = trainer.adaptation_losses(source, target, outputs)["text"]
    features = [outputs.extra[domain].features for domain in ("source", "target")]
    assert all(gradient.any() for gradient in torch.autograd.grad(loss, features, retain_graph=True))
    trainer.update(loss)
    after = dict(trainer.network.named_parameters())
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert {name for name in after if name.startswith("encoder") and name.endswith("conv.weight")} <= moved
    assert not any("seg_layers" in name for name in moved)  # the term reads what enters the last layer
    assert torch.equal(text, before["text"]) and text.grad is None


def test_the_first_value_is_the_loss_of_the_batchs_class_means(toy_environment):
    trainer, source, target, outputs = started(toy_environment, "nnUDATrainerTCSA", "tcsa_value", OPEN)
    label_s, label_t = finest(source.label)[:, 0], finest(outputs.target).argmax(1)
    text, everything = trainer.statistics["text"].weight, torch.ones(3, dtype=torch.bool)
    np.testing.assert_allclose(text, trainer.class_embeddings.mean)
    means = [
        class_means(outputs.extra[domain].features, label)
        for domain, label in (("source", label_s), ("target", label_t))
    ]
    expected = sum(covariance_cosine(mean, everything, text) for mean in means)
    torch.testing.assert_close(trainer.adaptation_losses(source, target, outputs)["text"], expected)
    for domain, mean in zip(("source", "target"), means):  # what is remembered
        torch.testing.assert_close(trainer.statistics[f"text_{domain}"].compute()[0], mean.detach())


def test_the_form_is_a_setting(toy_environment):
    trainer, source, target, outputs = started(toy_environment, "nnUDATrainerTCSA", "tcsa_form", OPEN)
    losses = set()
    for center in ("class", "none"):
        for off_diagonal in (False, True):
            forget(trainer)
            trainer.settings |= {"tcsa.text.center": center, "tcsa.text.off_diagonal": off_diagonal}
            losses.add(trainer.adaptation_losses(source, target, outputs)["text"].item())
    assert len(losses) == 4


def test_target_voxels_count_where_the_prediction_is_sure(toy_environment):
    trainer, source, target, outputs = started(toy_environment, "nnUDATrainerTCSA", "tcsa_sure", OPEN)
    p, label = finest(outputs.target).softmax(1).max(1)
    confidence = trainer.settings["tcsa.target.confidence"] = p.quantile(0.75).item()
    trainer.adaptation_losses(source, target, outputs)
    expected = class_means(outputs.extra["target"].features.detach(), torch.where(p > confidence, label, -1))
    mean, seen = trainer.statistics["text_target"].compute()
    assert torch.equal(seen, expected.isfinite().all(1)) and seen.any()
    torch.testing.assert_close(mean[seen], expected[seen])


def test_the_terms_wait_for_their_start(toy_environment):
    settings = {"tcsa.text.start": 0.5, "tcsa.prototypes.start": 0.6}
    trainer, source, target, outputs = started(toy_environment, "nnUDATrainerTCSA", "tcsa_wait", settings)
    assert trainer.adaptation_losses(source, target, outputs) == {}
    trainer.current_epoch = 1  # of 2
    assert set(trainer.adaptation_losses(source, target, outputs)) == {"text"}
    trainer.step_in_epoch = 1  # of 2
    assert set(trainer.adaptation_losses(source, target, outputs)) == {"text", "prototypes"}


# ---- L_PAM ------------------------------------------------------------------------------------------


def test_prototypes_are_aligned_on_the_deepest_features(toy_environment):
    trainer, source, target, outputs = started(
        toy_environment, "nnUDATrainerTCSA", "tcsa_pam", {**OPEN, "tcsa.text.weight": 0}
    )
    rows = {}
    for domain, label in (("source", finest(source.label)[:, 0]), ("target", finest(outputs.target).argmax(1))):
        deep = outputs.extra[domain].bottleneck
        stride = label.shape[-1] // deep.shape[-1]
        rows[domain] = class_means(deep, label[:, ::stride, ::stride])
    squares = (rows["source"] - rows["target"]).square().mean(1)
    both = squares.isfinite()  # a class that no voxel shows has no mean
    assert both.sum() >= 2
    torch.testing.assert_close(trainer.adaptation_losses(source, target, outputs)["prototypes"], squares[both].sum())
    trainer.settings["tcsa.prototypes.background"] = False
    forget(trainer)
    without = trainer.adaptation_losses(source, target, outputs)["prototypes"]
    torch.testing.assert_close(without, squares[1:][both[1:]].sum())
    logged = trainer.epoch_means.compute(trainer.logged_names())
    for name, square, counted in zip(trainer.class_names, squares, both):
        expected = square.sqrt().item() if counted else float("nan")
        assert logged[f"distance/{name}"] == pytest.approx(expected, rel=1e-4, nan_ok=True)


@pytest.mark.parametrize("detached", [False, True])
def test_the_source_moves_unless_it_is_detached(toy_environment, detached):
    settings = {**OPEN, "tcsa.text.weight": 0, "tcsa.prototypes.detach_source": detached}
    trainer, source, target, outputs = started(toy_environment, "nnUDATrainerTCSA", f"tcsa_detach_{detached}", settings)
    deep = [outputs.extra[domain].bottleneck for domain in ("source", "target")]
    loss = trainer.adaptation_losses(source, target, outputs)["prototypes"]
    gradients = torch.autograd.grad(loss, deep, allow_unused=True)
    assert gradients[1].any() and (gradients[0] is None or not gradients[0].any()) == detached


# ---- adversary --------------------------------------------------------------------------------------


def test_network_and_discriminator_learn_from_their_own_losses(toy_environment):
    trainer, source, target, outputs = started(toy_environment, "nnUDATrainerTCSA", "tcsa_adversary", ADVERSARY)
    trainer.adaptation_losses(source, target, outputs)["adversary"].backward(retain_graph=True)
    assert learns(trainer.network.encoder) and not learns(trainer.adversary)
    trainer.network.zero_grad()
    trainer.adversary_losses(source, target, outputs)["discriminator"].backward()
    assert learns(trainer.adversary) and not learns(trainer.network)
    before = {name: value.clone() for name, value in trainer.adversary.state_dict().items()}
    trainer.train_step(next(trainer.dataloader_train))
    assert any(not torch.equal(before[name], value) for name, value in trainer.adversary.state_dict().items())


# ---- fusion -----------------------------------------------------------------------------------------


def test_the_fusion_reads_each_domains_words(toy_environment):
    trainer, source, target, _ = started(toy_environment, "nnUDATrainerTCSA", "tcsa_fusion", FUSION)
    network = trainer.bare_network
    np.testing.assert_array_equal(network.fusion.text, trainer.class_embeddings.by_domain)
    network.fusion.text[1] = network.fusion.text[1].flip(1)  # as other words for the target would make it
    torch.nn.init.normal_(network.fusion.controller[-1].weight)
    outputs = trainer.forward_domains(source, target)
    trainer.set_deep_supervision_enabled(False)
    with torch.no_grad():
        torch.testing.assert_close(network(target.image), finest(outputs.target), rtol=1e-4, atol=1e-4)
        assert not torch.allclose(network(source.image), finest(outputs.source), rtol=1e-2, atol=1e-2)
        with trainer.on_source_images():  # nnU-Net's validation
            torch.testing.assert_close(network(source.image), finest(outputs.source), rtol=1e-4, atol=1e-4)
    assert network.domain == "target"
    trainer.adaptation_losses(source, target, outputs)["text"].backward()
    assert not learns(network.fusion)  # L_VLC reads the features in front of it


def test_the_checkpoint_brings_the_texts(toy_environment, monkeypatch):
    """Prediction builds the network from the results folder alone."""
    trainer, source, *_ = started(toy_environment, "nnUDATrainerTCSA", "tcsa_brings", FUSION)
    trainer.train_step(next(trainer.dataloader_train))
    path = f"{trainer.output_folder}/checkpoint_final.pth"
    trainer.save_checkpoint(path)
    plans = json.loads(open(f"{trainer.output_folder_base}/plans.json").read())
    monkeypatch.delenv("nnUNet_preprocessed")
    manager = PlansManager(plans)
    built = type(trainer).build_network_architecture(manager, manager.get_configuration("2d_toy"), 1, 3, False)
    built.load_state_dict(torch.load(path, weights_only=False)["network_weights"])
    trainer.set_deep_supervision_enabled(False)
    with torch.no_grad():
        assert torch.equal(built(source.image), trainer.network(source.image))
    assert built.fusion.text.abs().sum() > 0


def test_a_fusion_is_not_built_around_batch_norm(toy_environment, monkeypatch):
    trainer = make_trainer(toy_environment, "nnUDATrainerTCSA", "2d_toy", "tcsa_norm", FUSION)
    arguments = trainer.configuration_manager.network_arch_init_kwargs
    monkeypatch.setitem(arguments, "norm_op", "torch.nn.BatchNorm2d")
    with pytest.raises(NotImplementedError, match="BatchNorm would mix"):
        trainer.initialize()


# ---- what the plan must have ------------------------------------------------------------------------


def changed(toy, folder: Path, class_embeddings: dict | None = None, labels: dict | None = None) -> SimpleNamespace:
    """Plan and dataset.json for `make_trainer`, with other class embeddings (none by default) or other labels."""
    names = ("nnUNetPlans.json", "dataset.json")
    plans, dataset = (json.loads((toy.preprocessed / name).read_text()) for name in names)
    key = plans["domain_adaptation"]
    if class_embeddings:
        key["class_embeddings"] = class_embeddings
    elif not labels:
        del key["class_embeddings"]
    dataset["labels"] = labels or dataset["labels"]
    for name, content in zip(names, (plans, dataset)):
        (folder / name).write_text(json.dumps(content))
    return SimpleNamespace(preprocessed=folder)


def test_missing_embeddings_stop_the_start_with_the_command(toy_environment, tmp_path):
    textless = changed(toy_environment, tmp_path)
    for settings in ({}, {"tcsa.text.weight": 0, "tcsa.fusion": True}):
        with pytest.raises(
            ClassTextsError,
            match="nnUDA_configure -d Dataset501_ToySource -p tcsa_none --as NAME "
            "--text-model MODEL.*--text-model ngrams",
        ):
            make_trainer(textless, "nnUDATrainerTCSA", "2d_toy", "tcsa_none", settings)
    assert not (toy_environment.results / "nnUDATrainerTCSA__tcsa_none__2d_toy").exists()


def test_without_a_text_term_no_text_is_needed(toy_environment, tmp_path):
    textless = changed(toy_environment, tmp_path)
    trainer, source, target, outputs = started(
        textless, "nnUDATrainerTCSA", "tcsa_textless", {**OPEN, "tcsa.text.weight": 0}
    )
    assert set(trainer.adaptation_losses(source, target, outputs)) == {"prototypes"}
    assert set(trainer.statistics) == {"prototypes_source", "prototypes_target"}


def test_two_classes_cannot_be_centred(toy_environment, tmp_path):
    two = changed(toy_environment, tmp_path, labels={"background": 0, "box": 1})
    with pytest.raises(SettingsError, match="needs three classes.*background, box.*tcsa.text.center=none"):
        make_trainer(two, "nnUDATrainerTCSA", "2d_toy", "tcsa_two", {})
    make_trainer(two, "nnUDATrainerTCSA", "2d_toy", "tcsa_two", {"tcsa.text.weight": 0})


def test_other_embeddings_are_another_configuration(toy_environment, tmp_path):
    started(toy_environment, "nnUDATrainerTCSA", "tcsa_frozen", {})
    configure.main(["-d", "501", "--as", "tcsa_random", "--text-model", "random"])
    key = json.loads((toy_environment.preprocessed / "tcsa_random.json").read_text())["domain_adaptation"]
    other = changed(toy_environment, tmp_path, class_embeddings=key["class_embeddings"])
    with pytest.raises(FrozenConfigurationError, match=r"class embeddings \(sha256\): was"):
        make_trainer(other, "nnUDATrainerTCSA", "2d_toy", "tcsa_frozen", {})


# ---- logs and pictures ------------------------------------------------------------------------------


def test_curves_and_the_picture_of_the_cosines(toy_environment):
    trainer = make_trainer(
        toy_environment,
        "nnUDATrainerTCSA",
        "2d_toy",
        "tcsa_pictures",
        {**ADVERSARY, "training.num_epochs": 3, "tcsa.pictures.every": 2},
    )
    run_epochs(trainer, 2)
    [picture] = Path(trainer.output_folder, "pictures", "class_cosines").iterdir()
    assert picture.name == "epoch_0000.png" and image.imread(picture).std() > 0.05
    logged = trainer.logger.local_logger.my_fantastic_logging
    vectors = trainer.class_embeddings.mean
    between = (vectors @ vectors.T)[~np.eye(3, dtype=bool)].mean()
    np.testing.assert_allclose(logged["nnUDA/cosine/text"], between, rtol=1e-4)
    for name in ("cosine/source", "cosine/target"):
        assert (np.abs(logged[f"nnUDA/{name}"]) <= 1).all()
    for name in ("distance/background", "separation/source"):
        assert (np.array(logged[f"nnUDA/{name}"]) > 0).all()
    accuracy = np.array(logged["nnUDA/discriminator_accuracy"])
    assert ((0 <= accuracy) & (accuracy <= 1)).all()
