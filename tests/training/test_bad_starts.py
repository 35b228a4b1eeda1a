"""What a training cannot begin or go on with: one error that says what to do, and nothing good is touched."""

from __future__ import annotations

import json
import math
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import blosc2
import numpy as np
import pytest
import torch
from harness import differences, make_trainer, run_epochs, train_steps
from torch import nn

from nnuda.errors import NnudaError, Terminated
from nnuda.files import LOCK, FileError, LockedError, locked
from nnuda.processes import WorkerDied
from nnuda.results import ResultsError, load_checkpoint
from nnuda.training.checkpoint import CheckpointError
from nnuda.training.divergence import DivergedError
from nnuda.training.frozen import FrozenConfigurationError, frozen_settings
from nnuda.training.init_from import InitFromError, init_from
from nnuda.training.preprocessed import PreprocessedError
from nnuda.training.trainer import explained

SOURCE_ONLY = "nnUDATrainerSourceOnly"


class Evil:
    """Runs a command where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.system, (f"touch '{self.path}'",)


def continued(toy, name: str, trainer: str = SOURCE_ONLY, settings: dict | None = None):
    return make_trainer(toy, trainer, "2d_toy", name, settings, continue_training=True)


@pytest.fixture
def stopped(toy_environment, request) -> tuple:
    """A training that was stopped after an epoch, with checkpoint_latest.pth; and the name of its plan."""
    name = f"bad_{request.node.name}".replace("[", "_").replace("]", "").replace("-", "_").replace(".", "_")
    trainer = make_trainer(toy_environment, SOURCE_ONLY, "2d_toy", name)
    run_epochs(trainer, 1)
    return toy_environment, name, Path(trainer.output_folder), trainer


# ---- data -----------------------------------------------------------------------------------------------------------


def test_a_configuration_that_the_plan_does_not_have(toy_environment):
    with pytest.raises(
        NnudaError, match="configuration 4d: expected one that is there; got 4d, and the plan has 2d, .*2d_toy"
    ):
        make_trainer(toy_environment, SOURCE_ONLY, "4d", "bad_4d")


def test_a_fold_below_0(toy_environment):
    """nnU-Net would train on the last one, in a folder of its own."""
    with pytest.raises(NnudaError, match="Fold: expected a number from 0, or all; got -1"):
        make_trainer(toy_environment, SOURCE_ONLY, "2d_toy", "bad_fold", fold=-1)
    assert not list(toy_environment.root.rglob("fold_-1"))


def test_a_configuration_that_was_not_preprocessed(toy_environment):
    trainer = make_trainer(toy_environment, SOURCE_ONLY, "3d_fullres", "bad_unprocessed")
    with pytest.raises(
        PreprocessedError, match="cases of configuration 3d_fullres in .*Run: nnUDA_preprocess -d .* -c 3d"
    ):
        trainer.initialize()


@pytest.mark.parametrize("gone", ["case2.pkl", "case2_seg.b2nd"])
@pytest.mark.parametrize("domain", ["source", "target"])
def test_a_case_that_is_not_whole(toy_environment, gone, domain):
    toy = toy_environment
    root = toy.preprocessed if domain == "source" else next(toy.preprocessed.glob("nnUDA_target_*"))
    file = root / "nnUNetPlans_2d_toy" / gone
    trainer = make_trainer(toy, "nnUDATrainerUUDS", "2d_toy", "bad_case")
    aside = toy.root / "aside"
    shutil.move(file, aside)
    try:
        with pytest.raises(PreprocessedError, match=rf"{domain}.*case2 \(no {gone}\)\. Run: nnUDA_preprocess"):
            trainer.on_train_start()
    finally:
        shutil.move(aside, file)


@pytest.mark.parametrize("name", ["case2.b2nd", "case2_seg.b2nd", "case2.pkl"])
@pytest.mark.parametrize("left", [0, 0.3, -1])
def test_a_case_that_was_cut_off(toy_environment, name, left):
    toy = toy_environment
    file = next(toy.preprocessed.glob("nnUDA_target_*")) / "nnUNetPlans_2d_toy" / name
    trainer = make_trainer(toy, "nnUDATrainerUUDS", "2d_toy", "bad_case_cut")
    whole = file.read_bytes()
    file.write_bytes(whole[: int(left * len(whole)) if left >= 0 else left])
    try:
        with pytest.raises(
            PreprocessedError, match=rf"target.*case2 \({name} is cut off or damaged\)\. Run: nnUDA_preprocess"
        ):
            trainer.target_dataset()
    finally:
        file.write_bytes(whole)


@contextmanager
def content_of(file: Path, content: bytes | None):
    """A file of the toy with other content, or none, while a test looks."""
    before = file.read_bytes() if file.exists() else None
    file.unlink(missing_ok=True)
    if content is not None:
        file.write_bytes(content)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        if before is not None:
            file.write_bytes(before)


def preprocessed(toy, domain: str) -> Path:
    root = toy.preprocessed if domain == "source" else next(toy.preprocessed.glob("nnUDA_target_*"))
    return root / "nnUNetPlans_2d_toy"


def rewritten(file: Path, change) -> bytes:
    """A preprocessed array's file after a change."""
    array = np.ascontiguousarray(change(blosc2.open(str(file), mode="r")[:]))
    return blosc2.asarray(array).to_cframe()


@pytest.mark.parametrize("name", ["notes.txt", "other.npz"])
@pytest.mark.parametrize("domain", ["source", "target"])
def test_another_file_among_the_cases(toy_environment, domain, name):
    trainer = make_trainer(toy_environment, "nnUDATrainerUUDS", "2d_toy", "bad_stray")
    folder = preprocessed(toy_environment, domain)
    with (
        content_of(folder / name, b"x"),
        pytest.raises(FileError, match=f"{folder} holds other files than preprocessed cases: {name}. .* move them"),
    ):
        trainer.on_train_start()


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("case2.b2nd", lambda a: np.concatenate([a, a]), r"case2.b2nd holds float32 \(2, .*, not floats of 1 channels"),
        ("case2.b2nd", lambda a: a[0], "case2.b2nd holds float32 .*three axes"),
        ("case2.b2nd", lambda a: a.astype(complex), "case2.b2nd holds complex128"),
        (
            "case2_seg.b2nd",
            lambda a: a[:, :1, :2, :2],
            r"case2_seg.b2nd holds int\d+ \(1, 1, 2, 2\) beside an image \(1, ",
        ),
    ],
)
@pytest.mark.parametrize("domain", ["source", "target"])
def test_a_case_of_another_shape(toy_environment, domain, name, change, says):
    trainer = make_trainer(toy_environment, "nnUDATrainerUUDS", "2d_toy", "bad_shape")
    file = preprocessed(toy_environment, domain) / name
    with content_of(file, rewritten(file, change)), pytest.raises(PreprocessedError, match=f"{domain}.*{says}"):
        trainer.on_train_start()


@pytest.mark.parametrize("left", [None, 0, 60])
def test_a_reference_that_validation_could_not_read(toy_environment, left):
    trainer = make_trainer(toy_environment, SOURCE_ONLY, "2d_toy", "bad_reference")
    file = toy_environment.preprocessed / "gt_segmentations" / "case2.nii.gz"
    content = None if left is None else file.read_bytes()[:left]
    with (
        content_of(file, content),
        pytest.raises(PreprocessedError, match="gt_segmentations; got case2.nii.gz .*Run: "),
    ):
        trainer.on_train_start()


def test_a_fingerprint_that_nnunet_could_not_copy(toy_environment):
    trainer = make_trainer(toy_environment, "nnUDATrainerUUDS", "2d_toy", "bad_fingerprint")
    says = r"dataset_fingerprint.json is not there. Run: nnUDA_extract_fingerprint -d Dataset501\w+ -t Dataset502\w+$"
    with (
        content_of(toy_environment.preprocessed / "dataset_fingerprint.json", None),
        pytest.raises(PreprocessedError, match=says),
    ):
        trainer.on_train_start()


def other_labels(array):
    return np.where(array > 0, 9, array)


def not_finite(array):
    return array * np.nan


@pytest.mark.parametrize(
    ("domain", "name", "change", "says"),
    [
        ("source", "case2_seg.b2nd", other_labels, r"case2 \(case2_seg.b2nd holds the labels \[9\], not of \[-1, 0, 1"),
        ("source", "case2.b2nd", not_finite, r"case2 \(case2.b2nd holds values that are not finite\)"),
        ("target", "case2.b2nd", not_finite, r"case2 \(case2.b2nd holds values that are not finite\)"),
        ("source", "case2.pkl", None, r"case2 \(case2.pkl cannot be read"),
    ],
)
def test_a_case_that_is_damaged_inside_is_found_once_it_has_ended_a_training(
    toy_environment, domain, name, change, says
):
    """Nobody reads thousands of cases before a training; after an error all are."""
    trainer = make_trainer(toy_environment, "nnUDATrainerUUDS", "2d_toy", f"bad_inside_{domain}_{name[:8]}")
    trainer.num_iterations_per_epoch = trainer.divergence.patience = 12
    file = preprocessed(toy_environment, domain) / name
    with (
        content_of(file, b"no pickle." if change is None else rewritten(file, change)),
        pytest.raises(
            PreprocessedError, match=f"(?s){domain}.*; got {says}.* remove the files of these cases and run: "
        ),
    ):
        trainer.run_training()


def test_an_error_that_no_case_explains_stays_as_it_is(toy_environment, monkeypatch):
    trainer = make_trainer(toy_environment, "nnUDATrainerUUDS", "2d_toy", "bad_program")
    monkeypatch.setattr(trainer, "train_step", lambda batch: {}["loss"])
    with pytest.raises(KeyError, match="loss"):
        trainer.run_training()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[{", "expected nnU-Net's splits.*no JSON.*remove it"),
        ('[{"train": ["case0"]}]', "splits.*'val' is a required property"),
        ('[{"train": ["case0", "case9"], "val": ["case1"]}]', r"for training in fold 0.*case9 \(no case9.b2nd"),
        ('[{"train": ["case0"], "val": []}]', "for validation in fold 0; there is no case. Look at the fold"),
    ],
)
def test_splits_that_cannot_be_trained_on(toy_environment, content, says):
    trainer = make_trainer(toy_environment, SOURCE_ONLY, "2d_toy", "bad_splits")
    trainer.fold = 0
    file = toy_environment.preprocessed / "splits_final.json"
    file.write_text(content)
    try:
        with pytest.raises(NnudaError, match=says):
            trainer.on_train_start()
    finally:
        file.unlink()


# ---- checkpoints ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 5000])
def test_a_damaged_final_checkpoint_does_not_stop_while_the_latest_is_whole(stopped, size):
    toy, name, folder, first = stopped
    final = folder / "checkpoint_final.pth"
    final.write_bytes((folder / "checkpoint_latest.pth").read_bytes()[:size])
    second = continued(toy, name)
    second.load_checkpoint(str(final))
    assert second.current_epoch == 1
    assert differences(second.network.state_dict(), first.network.state_dict()) == []
    assert "checkpoint_final.pth: expected a checkpoint" in Path(second.log_file).read_text()

    (folder / "checkpoint_latest.pth").unlink()
    with pytest.raises(
        ResultsError, match=f"checkpoint_final.pth: .*its {size} bytes.*go on from checkpoint_best.pth, move"
    ):
        continued(toy, name).load_checkpoint(str(final))
    validated = make_trainer(toy, SOURCE_ONLY, "2d_toy", name)  # --val takes no other
    with pytest.raises(ResultsError, match="checkpoint_final.pth: .*cannot be read"):
        validated.load_checkpoint(str(final))


@pytest.mark.parametrize("content", [b"", b"hello", "foreign"], ids=["empty", "cut", "foreign"])
def test_a_damaged_selected_checkpoint_does_not_stop(stopped, content):
    toy, name, folder, _ = stopped
    file = folder / "checkpoint_selected.pth"
    torch.save({"network_weights": {}}, file) if content == "foreign" else file.write_bytes(content)
    second = continued(toy, name)
    second.load_checkpoint(str(folder / "checkpoint_latest.pth"))
    second.on_train_start()
    # the last epoch was the selected one, and its weights are those that the training goes on from
    assert second.selection.history.selected["epoch"] == 0
    weights = load_checkpoint(str(file))["network_weights"]
    assert differences(weights, second.network.state_dict()) == []
    noted = "checkpoint_selected.pth: expected a checkpoint" in Path(second.log_file).read_text()
    assert noted == (content != "foreign")


def changed(folder: Path, change) -> str:
    path = folder / "checkpoint_latest.pth"
    content = torch.load(path, weights_only=False)
    change(content)
    torch.save(content, path)
    return str(path)


def of_another_shape(content: dict) -> None:
    weights = content["network_weights"]
    first = next(iter(weights))
    weights[first] = torch.zeros(3)
    del weights[list(weights)[-1]]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.update(trainer_name="nnUDATrainerUUDS"), f"of {SOURCE_ONLY}; it is one of nnUDATrainerUUDS"),
        (lambda c: c.pop("nnuda"), "not written by nnuda to be continued .trainer: nnUDA.*training.init_from"),
        (lambda c: c.pop("optimizer_state"), "not written by nnuda to be continued"),
        (of_another_shape, "2 of .* are missing, too many or of another shape, such as encoder"),
        (
            lambda c: next(iter(c["network_weights"].values())).fill_(math.nan),
            "NaN or infinity in .* of them, such as encoder",
        ),
        (lambda c: c.update(current_epoch="1"), "an epoch of this training's 2.*; got epoch '1' with 1 logged"),
        (lambda c: c.update(current_epoch=-1), "got epoch -1 with 1 logged"),
        (lambda c: c.update(current_epoch=99), "got epoch 99 with 1 logged"),
        (lambda c: c.update(logging={}), "got epoch 1 with 0 logged"),
        (lambda c: c.update(logging=[]), "got epoch 1 with 0 logged"),
        (
            lambda c: c.update(optimizer_state={}),
            "the state of this training as it was saved.*KeyError: 'param_groups'",
        ),
        (lambda c: c["nnuda"].clear(), "the state of this training as it was saved.*KeyError"),
        (lambda c: c.update(nnuda=[]), "the state of this training as it was saved.*TypeError"),
        (lambda c: c["nnuda"].update(random_states=["x"]), "the state of this training as it was saved.*TypeError"),
        (lambda c: c["nnuda"].update(selection=3), "the state of this training as it was saved"),
    ],
)
def test_a_checkpoint_of_something_else(stopped, change, says):
    toy, name, folder, _ = stopped
    with pytest.raises(CheckpointError, match=f"checkpoint_latest.pth.*{says}") as error:
        continued(toy, name).load_checkpoint(changed(folder, change))
    assert len(str(error.value)) < 600


def test_a_checkpoint_that_would_run_code_is_refused_before_nnunet_reads_it(stopped):
    toy, name, folder, _ = stopped
    pwned = folder / "pwned"
    path = changed(folder, lambda content: content.update(logging=Evil(pwned)))
    with pytest.raises(ResultsError, match="checkpoint_latest.pth: expected tensors and plain values alone"):
        continued(toy, name).load_checkpoint(path)
    with pytest.raises(InitFromError, match="training.init_from: .*expected tensors and plain values alone"):
        init_from(nn.Linear(1, 1), path)
    assert not pwned.exists()
    torch.load(path, weights_only=False)
    assert pwned.exists()  # it would have


def test_a_cut_off_start_names_the_option_and_the_file(tmp_path):
    (tmp_path / "plain.pth").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(InitFromError, match="training.init_from: .*plain.pth: .*cannot be read as one"):
        init_from(nn.Linear(1, 1), str(tmp_path / "plain.pth"))


def test_weights_of_a_wrapped_network_are_a_start(tmp_path):
    weights = nn.Linear(2, 1).state_dict()
    wrapped = {f"module._orig_mod.{name}": value for name, value in weights.items()}
    torch.save({"network_weights": wrapped}, tmp_path / "plain.pth")
    network = nn.Linear(2, 1)
    assert "took 2 of 2 weights" in init_from(network, str(tmp_path / "plain.pth"))
    assert differences(network.state_dict(), weights) == []


def test_pretrained_weights_that_nnunet_would_refuse(toy_environment, monkeypatch, tmp_path):
    weights, path = nn.Linear(2, 1).state_dict(), tmp_path / "plain.pth"
    torch.save({"network_weights": weights}, path)
    trainer = make_trainer(toy_environment, SOURCE_ONLY, "2d_toy", "bad_pretrained")
    monkeypatch.setattr("sys.argv", ["nnUNetv2_train", "501", "-pretrained_weights", str(path)])
    with pytest.raises(SystemExit, match="Error: -pretrained_weights: expected all weights .*training.init_from="):
        trainer.initialize()
    for option, says in (
        (["-pretrained_weights", "nope.pth"], "nope.pth is not there"),
        ([f"-pretrained_weights={tmp_path}", "-p", "x"], f"{tmp_path} is a folder"),
    ):
        monkeypatch.setattr("sys.argv", ["nnUNetv2_train", "501", *option])
        with pytest.raises(SystemExit, match=f"Error: -pretrained_weights: expected a checkpoint, a file; {says}"):
            make_trainer(toy_environment, SOURCE_ONLY, "2d_toy", "bad_pretrained").initialize()
    monkeypatch.setattr("sys.argv", ["nnUNetv2_train", "501", "-p", "x", "-pretrained_weights", str(path)])
    pwned = tmp_path / "pwned"
    torch.save({"network_weights": Evil(pwned)}, path)
    with pytest.raises(SystemExit, match="plain.pth: expected tensors and plain values alone"):
        make_trainer(toy_environment, SOURCE_ONLY, "2d_toy", "bad_pretrained").initialize()
    assert not pwned.exists()


def test_a_damaged_frozen_plan(stopped):
    toy, name, folder, _ = stopped
    file = folder.parent / "plans_source.json"
    for content, says in (("{", "no JSON"), ("{}", "'configurations' is a required property")):
        file.write_text(content)
        with pytest.raises(
            FileError, match=f"plans_source.json: expected the plan that a training.*{says}.*Put it back"
        ):
            continued(toy, name)


def test_a_results_folders_plan_without_its_settings(toy_environment):
    plans = json.loads((toy_environment.preprocessed / "nnUNetPlans.json").read_text())
    for change in (lambda p: p.pop("domain_adaptation"), lambda p: None):
        given = json.loads(json.dumps(plans))
        change(given)
        with pytest.raises(FrozenConfigurationError, match="Plan nnUNetPlans: expected the plans.json that a training"):
            frozen_settings(given)


# ---- what was there stays -------------------------------------------------------------------------------------------


def test_a_new_training_moves_the_checkpoints_of_an_unfinished_one_aside(stopped):
    toy, name, folder, _ = stopped
    before = {path.name: path.read_bytes() for path in folder.glob("*.pth")}
    before["selection.json"] = (folder / "selection.json").read_bytes()
    assert {"checkpoint_latest.pth", "checkpoint_best.pth", "checkpoint_selected.pth"} <= set(before)

    second = make_trainer(toy, SOURCE_ONLY, "2d_toy", name)
    assert {path.name for path in folder.glob("*.pth")} <= set(before)  # nothing moves before the training begins
    run_epochs(second, 1)
    (aside,) = folder.glob("earlier_*")
    assert {path.name: path.read_bytes() for path in aside.iterdir()} == before
    assert f"its checkpoints are in {aside} now" in Path(second.log_file).read_text()

    third = continued(toy, name)
    third.load_checkpoint(str(folder / "checkpoint_latest.pth"))
    third.on_train_start()
    assert len(list(folder.glob("earlier_*"))) == 1


def test_a_finished_training_is_not_trained_again(stopped):
    toy, name, folder, first = stopped
    first.on_train_end()
    before = {path: path.read_bytes() for path in folder.iterdir() if path.suffix in (".pth", ".json")}
    with pytest.raises(CheckpointError, match=r"fold_all: .* it has checkpoint_final.pth\. .*--val .*move that folder"):
        make_trainer(toy, SOURCE_ONLY, "2d_toy", name).run_training()
    assert {path: path.read_bytes() for path in before} == before and not list(folder.glob("earlier_*"))

    goes_on = continued(toy, name)
    goes_on.load_checkpoint(str(folder / "checkpoint_final.pth"))
    goes_on.on_train_start()


def test_a_second_training_in_one_folder_is_refused(stopped):
    toy, name, folder, _ = stopped
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.pth")}
    with locked(str(folder / LOCK), "it"):
        for work in ("run_training", "perform_actual_validation"):
            with pytest.raises(LockedError, match=f"results folder .*fold_all: process {os.getpid()} on .* since"):
                getattr(make_trainer(toy, SOURCE_ONLY, "2d_toy", name), work)()
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.pth")} == before


# ---- a training that diverges ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapts", [False, True], ids=["stock step", "two domains"])
def test_a_training_that_diverges_ends_with_one_error(toy_environment, adapts):
    settings = {"training.initial_lr": 1e30, "training.num_iterations_per_epoch": 3}
    settings |= {"teacher.weight": 1, "teacher.start": 0} if adapts else {}
    trainer = make_trainer(toy_environment, SOURCE_ONLY, "2d_toy", f"bad_diverges_{adapts}", settings)
    says = r"in epoch 0: its loss was nan in 3 steps in a row" + r" .loss terms: source.*" * adapts
    with pytest.raises(DivergedError, match=says + r"\. Lower training\.initial_lr .it is 1e.30"):
        train_steps(trainer, 9)


def test_weights_that_are_not_finite_do_not_replace_a_good_checkpoint(stopped):
    toy, name, folder, _ = stopped
    before = {path: path.read_bytes() for path in folder.glob("*.pth")}
    trainer = continued(toy, name)
    trainer.load_checkpoint(str(folder / "checkpoint_latest.pth"))
    step = trainer.train_step

    def spoilt(batch: dict) -> dict:
        result = step(batch)
        with torch.no_grad():
            next(trainer.network.parameters())[0] = torch.nan
        return {"loss": result["loss"] * 0}

    trainer.train_step = spoilt
    trainer.divergence.patience = 99
    says = "in epoch 1: weights of the network are not finite, so no checkpoint of this"
    with pytest.raises(DivergedError, match=says):
        run_epochs(trainer, 1)
    assert {path: path.read_bytes() for path in folder.glob("*.pth")} == before


def test_single_steps_that_are_not_finite_are_a_scalers_business(toy_environment):
    trainer = make_trainer(toy_environment, SOURCE_ONLY, "2d_toy", "bad_single")
    for loss in [float("inf"), 1.0] * 100:
        trainer.divergence.see(loss, 0)


# ---- how it is said -------------------------------------------------------------------------------------------------


def test_nnunets_command_ends_with_the_message_and_a_notebook_gets_the_error(toy_environment, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["/usr/bin/nnUNetv2_train", "501"])
    with pytest.raises(SystemExit, match="^Error: .*Plan bad_said, configuration 4d: expected one that is there"):
        make_trainer(toy_environment, SOURCE_ONLY, "4d", "bad_said")
    trainer = make_trainer(toy_environment, SOURCE_ONLY, "2d_toy", "bad_said")
    for signal, status, word in ((KeyboardInterrupt, 130, "Interrupted"), (Terminated, 143, "Terminated")):

        def interrupted(signal=signal):
            raise signal

        monkeypatch.setattr(trainer, "on_train_start", interrupted)
        with pytest.raises(SystemExit) as end:
            trainer.run_training()
        assert end.value.code == status
        assert capsys.readouterr().err == f"{word}. Add --c to go on from the last checkpoint.\n"
    monkeypatch.setattr("sys.argv", ["ipykernel_launcher.py"])
    with pytest.raises(NnudaError):
        make_trainer(toy_environment, SOURCE_ONLY, "4d", "bad_said")


def test_what_nnunet_and_torch_say_is_explained():
    lost = explained(RuntimeError("One or more background workers are no longer alive. Exiting."))
    assert isinstance(lost, WorkerDied) and "nnUNet_n_proc_DA" in str(lost)
    full = explained(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 ..."))
    assert "GPU's memory is too small for this step (CUDA out of memory)" in str(full)
    assert explained(RuntimeError("another")) is None
