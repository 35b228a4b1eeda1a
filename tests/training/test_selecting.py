"""Epochs scored while training: what is written, kept and not disturbed, and the alarm on one made to collapse."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from harness import differences, make_trainer, run_epochs
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch import Tensor

from nnuda.settings import SettingsError
from nnuda.training.loss_terms import LossTerm
from nnuda.training.outputs import finest
from nnuda.training.random_state import get_random_state
from nnuda.training.trainer import nnUDATrainer

ALL_PASS = {"selection.source_dice": 0, "selection.class_share": 0}
TEACHER = {"teacher.weight": 1, "teacher.start": 0, "teacher.confidence": 0.3}


class nnUDATrainerCollapsing(nnUDATrainer):
    """Finds what it has learnt, since its target is like its source; then a term calls all of the target background."""

    preset = "source_only"

    def configure_loss_terms(self) -> dict[str, LossTerm]:
        return {"collapse": LossTerm("collapse", 30.0, start=0.5)}

    def adaptation_losses(self, source, target, outputs) -> dict[str, Tensor]:
        return {"collapse": -finest(outputs.target).log_softmax(1)[:, 0].mean()} if self.active("collapse") else {}

    def target_dataset(self):
        return self.dataset_class(self.preprocessed_dataset_folder)


def content(trainer) -> dict:
    return json.loads((Path(trainer.output_folder) / "selection.json").read_text())


def predictor(trainer, checkpoint: str) -> nnUNetPredictor:
    """What nnUNetv2_predict -chk does first."""
    made = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    made.initialize_from_trained_model_folder(trainer.output_folder_base, ("all",), checkpoint)
    return made


@pytest.mark.parametrize("kind", ["flip", "teacher"])
def test_the_file_the_checkpoint_and_the_kept_weights(toy_environment, kind):
    settings = {**ALL_PASS, "training.num_epochs": 4, "selection.batches": 16, "selection.keep_checkpoints": 2}
    settings |= {**TEACHER, "training.predict_with": "teacher"} if kind == "teacher" else {}
    trainer = make_trainer(toy_environment, "nnUDATrainerSourceOnly", "2d_toy", f"selecting_{kind}", settings)
    weights = []

    def keep_epoch():  # what predicts after each epoch
        type(trainer).keep_epoch(trainer)
        with trainer.prediction_weights():
            weights.append({name: value.clone() for name, value in trainer.bare_network.state_dict().items()})

    trainer.keep_epoch = keep_epoch
    run_epochs(trainer, 4)
    written, folder = content(trainer), Path(trainer.output_folder)
    assert [epoch["epoch"] for epoch in written["epochs"]] == [0, 1, 2, 3]
    assert {epoch["agreement_kind"] for epoch in written["epochs"]} == {kind}
    scores = ("entropy", "class_prior", "agreement", "density", "source_dice")
    assert all(math.isfinite(epoch[name]) for epoch in written["epochs"] for name in scores)
    assert written["rule"]["classes"] == ["left box", "right box"] and len(written["epochs"][0]["class_shares"]) == 2
    selected = written["selected_epoch"]
    assert selected == max(epoch["epoch"] for epoch in written["epochs"] if epoch["selected"])
    logged = trainer.logger.local_logger.my_fantastic_logging
    assert logged["nnUDA_selection/entropy"] == [epoch["entropy"] for epoch in written["epochs"]]

    checkpoint = torch.load(folder / "checkpoint_selected.pth", weights_only=False)
    assert checkpoint["current_epoch"] == selected + 1
    assert {"optimizer_state", "logging", "init_args", "nnuda"} < set(checkpoint)
    assert {len(values) for name, values in checkpoint["logging"].items()} == {selected + 1}
    kept = {"checkpoint_epoch_0000.pth": 0, "checkpoint_epoch_0002.pth": 2}
    for name, epoch in {"checkpoint_selected.pth": selected, **kept}.items():
        assert differences(dict(predictor(trainer, name).list_of_parameters[0]), weights[epoch]) == [], name
    assert {path.name for path in folder.glob("checkpoint_epoch*")} == set(kept)
    assert differences(weights[0], weights[2]) != [] and not list(folder.glob("*.tmp"))


def test_scoring_changes_neither_weights_nor_random_numbers(toy_environment):
    made = {}
    for enabled in (True, False):
        made[enabled] = make_trainer(
            toy_environment,
            "nnUDATrainerSourceOnly",
            "3d_toy",
            f"selecting_{enabled}",
            {**TEACHER, "training.num_epochs": 2, "selection.enabled": enabled},
        )
        run_epochs(made[enabled], 2)
        made[f"random {enabled}"] = get_random_state()
    assert differences(made[True].network.state_dict(), made[False].network.state_dict()) == []
    assert differences(made["random True"], made["random False"]) == []
    assert Path(made[True].output_folder, "selection.json").is_file()
    folder = Path(made[False].output_folder)
    assert not (folder / "selection.json").exists() and not (folder / "checkpoint_selected.pth").exists()


def test_the_picture_is_drawn(toy_environment):
    trainer = make_trainer(toy_environment, "nnUDATrainerSourceOnly", "2d_toy", "selecting_picture", ALL_PASS)
    del trainer.selection.draw  # the harness's
    run_epochs(trainer, 2)
    assert (Path(trainer.output_folder) / "nnuda_selection.png").stat().st_size > 10_000


def test_source_only_trains_without_a_preprocessed_target_and_says_so(toy_environment):
    folder = next(toy_environment.preprocessed.glob("nnUDA_target_*")) / "nnUNetPlans_2d_toy"
    aside = folder.with_name("aside")
    folder.rename(aside)
    try:
        trainer = make_trainer(toy_environment, "nnUDATrainerSourceOnly", "2d_toy", "selecting_without")
        run_epochs(trainer, 1)
    finally:
        aside.rename(folder)
    note = "NOTE: epochs are not scored on the target. Expected 4 preprocessed cases"
    assert note in Path(trainer.log_file).read_text()
    assert not (Path(trainer.output_folder) / "selection.json").exists()


def test_a_new_training_does_not_take_an_earlier_ones_selection_for_its_own(toy_environment):
    for _ in range(2):
        trainer = make_trainer(toy_environment, "nnUDATrainerSourceOnly", "2d_toy", "selecting_again", ALL_PASS)
        trainer.on_train_start()
        selected = Path(trainer.output_folder) / "checkpoint_selected.pth"
        assert not selected.exists() and trainer.selection.history.selected is None
        selected.write_bytes(b"of an earlier training")
    assert "an unfinished training was here; its checkpoints are in" in Path(trainer.log_file).read_text()
    assert len(list(Path(trainer.output_folder).glob("earlier_*/checkpoint_selected.pth"))) == 1


def test_after_an_interruption_the_file_counts(toy_environment):
    """Killed after an epoch that checkpoint_latest does not know: from then on epochs compare with the file's."""
    settings = {**ALL_PASS, "training.num_epochs": 6, "training.save_every": 2}
    first = make_trainer(toy_environment, "nnUDATrainerSourceOnly", "2d_toy", "selecting_killed", settings)
    run_epochs(first, 2)
    first.selection.history.selected = None  # the third epoch is to be selected, whatever its scores
    run_epochs_from(first, 1)
    lost = first.selection.history.epochs[-1]
    assert lost["epoch"] == 2 and lost["selected"]

    second = make_trainer(toy_environment, "nnUDATrainerSourceOnly", "2d_toy", "selecting_killed", settings, True)
    second.load_checkpoint(f"{second.output_folder}/checkpoint_latest.pth")
    assert second.current_epoch == 2 and second.selection.history.selected["epoch"] < 2
    second.on_train_start()
    assert second.selection.history.selected == lost
    assert "checkpoint_selected.pth is of epoch 2, from before the interruption" in Path(second.log_file).read_text()

    Path(second.output_folder, "checkpoint_selected.pth").unlink()
    third = make_trainer(toy_environment, "nnUDATrainerSourceOnly", "2d_toy", "selecting_killed", settings, True)
    third.load_checkpoint(f"{third.output_folder}/checkpoint_latest.pth")
    third.on_train_start()
    last = third.selection.history.epochs[-1]
    assert third.selection.history.selected == (last if last["selected"] else None)


def run_epochs_from(trainer, epochs: int) -> None:
    """More epochs of a training that runs."""
    trainer.on_train_start, start = lambda: None, trainer.on_train_start
    run_epochs(trainer, epochs)
    trainer.on_train_start = start


def test_a_collapse_raises_the_alarm_in_its_epoch(toy_environment):
    trainer = make_trainer(
        toy_environment,
        nnUDATrainerCollapsing,
        "2d_toy",
        "selecting_collapse",
        {
            "training.num_epochs": 4,
            "training.num_iterations_per_epoch": 40,
            "selection.source_dice": 0,
            "selection.batches": 16,
        },
    )
    run_epochs(trainer, 4)
    written, log = content(trainer), Path(trainer.log_file).read_text()
    collapse = trainer.logger.local_logger.my_fantastic_logging["nnUDA/collapse"]
    assert [math.isnan(value) for value in collapse] == [True, True, False, False]
    right_box = [epoch["class_shares"][1] / written["rule"]["source_shares"][1] for epoch in written["epochs"]]
    assert min(right_box[:2]) > 0.5 and max(right_box[2:]) < 0.1, right_box
    assert [epoch["alarm"] for epoch in written["epochs"][:2]] == [[], []]
    assert "right box has vanished" in written["epochs"][2]["alarm"]
    assert log.count("COLLAPSE ALARM on the target in epoch 2: ") == 1
    assert all(epoch["vetoed"] and not epoch["selected"] for epoch in written["epochs"][2:])


def test_a_rule_without_a_score_stops_at_the_start(toy_environment):
    trainer = make_trainer(
        toy_environment, "nnUDATrainerSourceOnly", "2d_toy", "selecting_nothing", {"selection.scores": ["agreement"]}
    )
    trainer.initialize()
    trainer.inference_allowed_mirroring_axes = None
    with pytest.raises(SettingsError, match="Add entropy"):
        trainer.start_selection()


def test_labels_of_the_folds_validation_cases_are_not_counted(toy_environment, monkeypatch):
    """A cross-validation's held-out labels stay out of the rule that chooses the epoch."""
    read = []
    trainer = make_trainer(
        toy_environment, "nnUDATrainerSourceOnly", "2d_toy", "selecting_split", {"selection.batches": 8}
    )
    trainer.on_train_start()
    monkeypatch.setattr(trainer, "do_split", lambda: (["case0", "case2"], ["case1", "case3"]))
    load_case = trainer.dataset_class.load_case

    def recorded(dataset, case):
        if str(dataset.source_folder) == str(trainer.preprocessed_dataset_folder):
            read.append(case)
        return load_case(dataset, case)

    monkeypatch.setattr(trainer.dataset_class, "load_case", recorded)
    trainer.start_selection()
    assert set(read) == {"case0", "case2"}


def test_the_best_checkpoint_is_chosen_by_the_weights_that_it_stores(toy_environment):
    """With predict_with=teacher the pseudo Dice is the teacher's; the student goes on unchanged."""
    settings = {**TEACHER, "training.predict_with": "teacher", "training.num_epochs": 4}
    trainer = make_trainer(toy_environment, "nnUDATrainerSourceOnly", "2d_toy", "best_by_teacher", settings)
    trainer.on_train_start()
    with torch.no_grad():
        for parameter in trainer.teacher.network.parameters():
            parameter.mul_(0.5)
    student = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    seen = []
    batch = next(trainer.dataloader_val)
    with torch.no_grad():
        trainer.on_validation_epoch_start()
        seen += [trainer.validation_step(batch)]
        assert differences(trainer.network.state_dict(), trainer.teacher.network.state_dict()) == []
        trainer.on_validation_epoch_end(seen)
    assert differences(trainer.network.state_dict(), student) == []


def test_a_selected_epoch_that_a_kill_kept_from_its_file_is_written_again(toy_environment):
    """Killed between checkpoint_latest.pth and checkpoint_selected.pth of one epoch."""
    settings = {**ALL_PASS, "training.num_epochs": 6}
    first = make_trainer(toy_environment, "nnUDATrainerSourceOnly", "2d_toy", "selecting_between", settings)
    run_epochs(first, 1)
    selected = Path(first.output_folder) / "checkpoint_selected.pth"
    before = torch.load(selected, weights_only=False)
    selected.unlink()
    second = make_trainer(toy_environment, "nnUDATrainerSourceOnly", "2d_toy", "selecting_between", settings, True)
    second.load_checkpoint(f"{second.output_folder}/checkpoint_latest.pth")
    second.on_train_start()
    after = torch.load(selected, weights_only=False)
    for name in ("network_weights", "optimizer_state", "current_epoch", "nnuda"):
        assert differences(after[name], before[name]) == [], name
    assert second.selection.history.selected["epoch"] == 0
