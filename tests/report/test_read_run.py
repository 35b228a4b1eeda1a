"""What is read of a results folder, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from made_run import CHANGED, CLASSES, SOURCE, TARGET, checkpoint, make_run

from nnuda.errors import NnudaError
from nnuda.files import FileError
from nnuda.report.run import ReportError, number, read_run
from nnuda.report.settings_and_cost import cost_section, settings_section
from nnuda.results import ResultsError
from nnuda.settings import load_preset


def test_a_run_is_read(tmp_path: Path) -> None:
    run = read_run(str(make_run(tmp_path)))
    assert (run.source, run.target, run.trainer, run.configuration) == (SOURCE, TARGET, "nnUDATrainerPrototypes", "2d")
    assert list(run.terms) == ["similarity", "contrast"] and run.weights == {
        "similarity": CHANGED["prototypes.similarity.weight"],
        "contrast": run.settings["prototypes.contrast.weight"],
    }
    assert run.finished and run.epochs == 2 and run.checkpoint["parameters"] == 12 and run.classes == CLASSES
    assert run.fingerprints["source"]["spacings"] and run.selection["selected_epoch"] == 0


def test_a_running_training_has_its_latest_checkpoint(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "checkpoint_best.pth")
    assert read_run(str(folder)).checkpoint_name == "checkpoint_best.pth"
    shutil.copy(folder / "checkpoint_best.pth", folder / "checkpoint_latest.pth")
    assert read_run(str(folder)).checkpoint_name == "checkpoint_latest.pth" and not read_run(str(folder)).finished


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    with pytest.raises(ReportError, match="does not exist"):
        read_run(str(tmp_path / "nothing"))
    with pytest.raises(ReportError, match="fold_0.*; got the folder above it"):
        read_run(str(folder.parent))
    (folder / "selection.json").write_text("{}")
    with pytest.raises(FileError, match="selection.json: .*'rule' is a required property"):
        read_run(str(folder))
    (folder / "checkpoint_final.pth").unlink()
    with pytest.raises(ResultsError, match="expected checkpoint_final.pth or .*; there are: none"):
        read_run(str(folder))
    (folder.parent / "plans_source.json").unlink()
    with pytest.raises(ResultsError, match="a trainer of nnuda"):
        read_run(str(folder))


def test_a_checkpoint_from_before_costs_and_scores_were_logged(tmp_path: Path) -> None:
    assert "nnUDA_cost/step_seconds" in checkpoint()["logging"]
    run = read_run(str(make_run(tmp_path, with_selection=False)))
    for name in ("step_seconds", "memory_gb"):
        del run.logged[f"nnUDA_cost/{name}"]
    rows = dict(row for row in cost_section(run).blocks[0].rows)
    steps = run.settings["training.num_iterations_per_epoch"] + run.settings["training.num_val_iterations_per_epoch"]
    assert (
        run.selection is None
        and rows["a training step"] == f"not logged; {30 / steps:.3g} s an average training or validation step"
    )
    assert rows["GPU memory"] == "not measured on the CPU"


def test_numbers() -> None:
    assert [number(value) for value in (None, float("nan"), 0.12345, 1234567.0)] == ["-", "-", "0.123", "1.23e+06"]


def test_settings_say_what_was_changed_and_where_defaults_come_from(tmp_path: Path) -> None:
    section = settings_section(read_run(str(make_run(tmp_path))))
    text, changed, folded = section.blocks
    assert [row[0] for row in changed.rows[1:]] == list(CHANGED) and text.text.startswith("2 of ")
    table = folded.blocks[0]
    preset = load_preset("prototypes")
    assert {row[0]: row[4] for row in table.rows[1:]} == {key: entry["source"] for key, entry in preset.items()}
    assert {table.rows[1 + index][0] for index in table.marked} == set(CHANGED)
    row = next(row for row in table.rows if row[0] == "training.num_epochs")
    assert row[1:3] == [json.dumps(2), json.dumps(preset["training.num_epochs"]["value"])]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xef\xbb\xbf{}", b"5", "{}".encode("utf-16")])
@pytest.mark.parametrize("name", ["../plans.json", "../plans_source.json", "../dataset.json", "selection.json"])
def test_a_damaged_file_is_one_error_that_names_it(tmp_path: Path, name: str, content: bytes) -> None:
    folder = make_run(tmp_path)
    (folder / name).resolve().write_bytes(content)
    with pytest.raises(NnudaError, match=f"{name.removeprefix('../')}: expected"):
        read_run(str(folder))


@pytest.mark.parametrize("name", ["debug", "fingerprints"])
def test_so_is_one_that_is_read_later(tmp_path: Path, name: str) -> None:
    folder = make_run(tmp_path)
    file = {"debug": folder / "debug.json", "fingerprints": folder.parent / "dataset_fingerprint.json"}[name]
    file.write_text("{")
    with pytest.raises(FileError, match=f"{file.name}: expected"):
        getattr(read_run(str(folder)), name)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"epochs": [1]}, "epochs.0: 1 is not of type 'object'"),
        ({"epochs": [{"epoch": 1}]}, "epochs.0: 'entropy' is a required property"),
        ({"rule": 1}, "rule: 1 is not of type 'object'"),
        ({"selected_epoch": "x"}, "selected_epoch: 'x'"),
    ],
)
def test_a_selection_that_was_changed_by_hand(tmp_path: Path, change: dict, says: str) -> None:
    folder = make_run(tmp_path)
    content = json.loads((folder / "selection.json").read_text())
    (folder / "selection.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(FileError, match=f"selection.json: .*{says}.*Move it away"):
        read_run(str(folder))


def test_a_folder_in_place_of_the_selection_and_classes_that_are_no_names(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    (folder / "selection.json").rename(folder / "kept.json")
    (folder / "selection.json").mkdir()
    with pytest.raises(FileError, match="selection.json"):
        read_run(str(folder))
    (folder / "selection.json").rmdir()
    plans = json.loads((folder.parent / "plans.json").read_text())
    plans["domain_adaptation"]["foreground_classes"] = [1, 2]
    (folder.parent / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(NnudaError, match=r"foreground_classes.\d: \d is not of type 'string'"):
        read_run(str(folder))


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda content, path: {"a": 1}, "no network_weights"),
        (lambda content, path: {k: v for k, v in content.items() if k != "logging"}, "no logging"),
        (lambda content, path: {**content, "logging": {"lrs": []}}, "lacks train_losses"),
        (
            lambda content, path: {**content, "logging": {**content["logging"], "train_losses": ["a"]}},
            "with numbers as train_losses",
        ),
        (lambda content, path: {**content, "current_epoch": "x"}, "with a whole number as current_epoch"),
        (lambda content, path: {**content, "more": Evil(path)}, "other Python objects"),
    ],
)
def test_another_checkpoint_is_one_error_and_runs_nothing(tmp_path: Path, change, says: str) -> None:
    folder = make_run(tmp_path)
    torch.save(change(checkpoint(), tmp_path / "pwned"), folder / "checkpoint_final.pth")
    with pytest.raises(NnudaError, match=f"checkpoint_final.pth: expected .*{says}"):
        read_run(str(folder))
    assert not (tmp_path / "pwned").exists()


def test_a_checkpoint_that_was_cut_off(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    file = folder / "checkpoint_final.pth"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ResultsError, match="checkpoint_final.pth: .* its 1000 bytes cannot be read"):
        read_run(str(folder))


def test_what_rules_found_stands_with_the_settings(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    for file in ("plans.json", "plans_source.json"):
        plans = json.loads((folder.parent / file).read_text())
        plans["domain_adaptation"]["rules"] = [
            {"rule": "size", "measured": {}, "settings": {"selection.class_share": 0.02}, "reason": "Twice as large."},
            {"rule": "detail", "measured": {}, "settings": {}, "reason": "Coarser."},
        ]
        (folder.parent / file).write_text(json.dumps(plans))
    tables = [block.rows for block in settings_section(read_run(str(folder))).blocks if hasattr(block, "rows")]
    assert tables[0][1:] == [
        ["size", "selection.class_share=0.02", "Twice as large."],
        ["detail", "a warning", "Coarser."],
    ]
