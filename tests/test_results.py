"""What is found in a results folder, and what is said where it is not."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from nnuda.files import FileError
from nnuda.results import (
    CHECKPOINTS,
    ResultsError,
    find_checkpoint,
    find_fold,
    folds_in,
    is_of_nnuda,
    load_checkpoint,
    plans_of_source,
    read_fingerprint,
    require_nnuda,
    split_fold,
)


def test_a_fold_offers_final_then_latest_then_best_as_nnunet_itself_continues(tmp_path):
    assert CHECKPOINTS == ("checkpoint_final.pth", "checkpoint_latest.pth", "checkpoint_best.pth")
    for name in reversed(CHECKPOINTS):
        (tmp_path / name).touch()
        assert find_checkpoint(str(tmp_path)) == str(tmp_path / name)
    assert find_checkpoint(str(tmp_path), "checkpoint_best.pth") == str(tmp_path / "checkpoint_best.pth")
    assert find_checkpoint(str(tmp_path / "checkpoint_best.pth")) == str(tmp_path / "checkpoint_best.pth")


def test_a_path_without_a_checkpoint_says_what_was_expected(tmp_path):
    with pytest.raises(ResultsError, match="training.init_from: expected checkpoint_final.pth or .*there are: none"):
        find_checkpoint(str(tmp_path), option="training.init_from")
    with pytest.raises(FileNotFoundError, match="-chk: expected a checkpoint, or a fold's folder fold_x"):
        find_checkpoint(str(tmp_path / "missing.pth"))
    (tmp_path / "checkpoint_best.pth").touch()
    with pytest.raises(ResultsError, match="expected checkpoint_x.pth in .*; there are: checkpoint_best.pth"):
        find_checkpoint(str(tmp_path), "checkpoint_x.pth")


FACTS = dict.fromkeys(("mean", "median", "std", "min", "max", "percentile_99_5", "percentile_00_5"), 1.5)
FINGERPRINT = {
    "spacings": [[4.0, 1.0, 1.0]],
    "shapes_after_crop": [[8, 32, 32]],
    "foreground_intensity_properties_per_channel": {"0": FACTS},
    "median_relative_size_after_cropping": 1.0,
}
INTENSITIES = "foreground_intensity_properties_per_channel"


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"spacings": {}}, "spacings"),
        ({"spacings": [[0, 1, 1]]}, "spacings.0.0"),
        ({"spacings": [[4, 1]]}, "spacings.0"),
        ({"spacings": [["4", 1, 1]]}, "spacings.0.0"),
        ({"shapes_after_crop": [None]}, "shapes_after_crop.0"),
        ({"shapes_after_crop": [[8, 32, {}]]}, "shapes_after_crop.0.2"),
        ({INTENSITIES: ""}, INTENSITIES),
        ({INTENSITIES: {}}, INTENSITIES),
        ({INTENSITIES: {"0": {**FACTS, "std": None}}}, f"{INTENSITIES}.0.std"),
    ],
)
def test_a_fingerprint_that_was_changed_by_hand_is_named(tmp_path, changes, where):
    file = tmp_path / "f.json"
    file.write_text(json.dumps(FINGERPRINT))
    assert read_fingerprint(str(file), "") == FINGERPRINT
    file.write_text(json.dumps({**FINGERPRINT, **changes}))
    with pytest.raises(FileError, match=f"f.json: expected a dataset's fingerprint; got {where}: .*Put it back"):
        read_fingerprint(str(file), "Put it back.")


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({INTENSITIES: {"0": FACTS, "1": FACTS}}, f"{INTENSITIES}: .* has too many properties"),
        ({INTENSITIES: {"one": FACTS}}, f"{INTENSITIES}: '0' is a required property"),
        ({"intensities_from": []}, "intensities_from: "),
        ({"intensities_from": ["body", "body"]}, "intensities_from: "),
        (None, "'median_relative_size_after_cropping' is a required property"),
    ],
)
def test_a_fingerprint_to_plan_by_speaks_of_each_channel(tmp_path, changes, where):
    file = tmp_path / "f.json"
    file.write_text(json.dumps(FINGERPRINT))
    assert read_fingerprint(str(file), "", channels=1) == FINGERPRINT
    content = {**FINGERPRINT, **(changes or {})}
    if changes is None:
        del content["median_relative_size_after_cropping"]
    file.write_text(json.dumps(content))
    assert read_fingerprint(str(file), "") == content  # a page may be made of it
    with pytest.raises(FileError, match=f"f.json: expected a dataset's fingerprint; got {where}.*Put it back"):
        read_fingerprint(str(file), "Put it back.", channels=1)


def test_folds(tmp_path):
    for name in ("fold_all", "fold_0", "crossval_results_folds_0"):
        (tmp_path / name).mkdir()
    assert folds_in(str(tmp_path)) == ["0", "all"] and folds_in(str(tmp_path / "none")) == []
    assert find_fold(str(tmp_path), "all") == str(tmp_path / "fold_all")
    assert split_fold(str(tmp_path / "fold_all")) == (str(tmp_path), "all")
    with pytest.raises(ResultsError, match="-f: expected fold 3 in .*there are: fold_0, fold_all"):
        find_fold(str(tmp_path), "3")


def test_whose_it_is(tmp_path):
    assert not is_of_nnuda(str(tmp_path)) and plans_of_source(str(tmp_path)) == str(tmp_path / "plans.json")
    with pytest.raises(ResultsError, match="a trainer of nnuda; .* has no plans_source.json"):
        require_nnuda(str(tmp_path))
    (tmp_path / "plans_source.json").touch()
    require_nnuda(str(tmp_path))
    assert plans_of_source(str(tmp_path)) == str(tmp_path / "plans_source.json")


class _Code:
    """Runs a command where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.mark}",)


def test_a_checkpoint_of_plain_values_is_read(tmp_path):
    content = {
        "network_weights": {"a": torch.ones(2)},
        "logging": {"dice": [np.float64(0.5), np.float32(1)], "array": np.arange(3)},
        "init_args": {"fold": 0, "device": torch.device("cpu")},
        "_best_ema": None,
    }
    torch.save(content, tmp_path / "checkpoint_final.pth")
    read = load_checkpoint(str(tmp_path / "checkpoint_final.pth"))
    assert read["network_weights"]["a"].tolist() == [1, 1] and read["logging"]["dice"] == [0.5, 1]
    assert read["init_args"] == content["init_args"]


def test_code_in_a_checkpoint_does_not_run(tmp_path):
    mark = tmp_path / "ran"
    torch.save({"network_weights": _Code(mark)}, tmp_path / "c.pth")
    with pytest.raises(ResultsError, match="c.pth: .*run code when"):
        load_checkpoint(str(tmp_path / "c.pth"))
    assert not mark.exists()
    torch.load(tmp_path / "c.pth", weights_only=False)  # it would have
    assert mark.exists()


def _bytes(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "0 bytes cannot be read"),
        (b"hello", "5 bytes cannot be read"),
        (b"no checkpoint, just text", "24 bytes cannot be read"),
        (b"just text here", "14 bytes cannot be read"),
        (_bytes({"network_weights": {"a": torch.ones(9)}})[:500], "500 bytes cannot be read"),
        (_bytes({"a": 1}), "no network_weights"),
        (_bytes([1]), "no network_weights"),
        (_bytes({"network_weights": {"a": 1}}), "no network_weights"),
    ],
)
def test_a_damaged_or_foreign_checkpoint_is_named(tmp_path, content, says):
    (tmp_path / "c.pth").write_bytes(content)
    with pytest.raises(ResultsError, match=f"c.pth: expected a checkpoint of nnU-Net's; .*{says}") as raised:
        load_checkpoint(str(tmp_path / "c.pth"))
    said = str(raised.value)
    assert "\n" not in said and "torch.load" not in said and "(5445" not in said


def test_whatever_the_bytes_are_it_is_one_error(tmp_path):
    whole, random = _bytes({"network_weights": {"a": torch.ones(3)}}), np.random.default_rng(0)
    (tmp_path / "c.pth").write_bytes(whole)
    assert load_checkpoint(str(tmp_path / "c.pth"))["network_weights"]["a"].tolist() == [1, 1, 1]
    refused = 0
    for _ in range(200):
        content = bytearray(whole if random.random() < 0.7 else random.bytes(40))
        for place in random.integers(0, len(content), 8):
            content[place] = random.integers(256)
        (tmp_path / "c.pth").write_bytes(content)
        try:
            load_checkpoint(str(tmp_path / "c.pth"))
        except ResultsError as error:
            refused += 1
            assert "c.pth: expected" in str(error)
    assert refused > 100
