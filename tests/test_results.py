"""What is found in a results folder, and what is said where it is not."""

from __future__ import annotations

import pytest

from nnuda.results import (
    CHECKPOINTS,
    ResultsError,
    find_checkpoint,
    find_fold,
    folds_in,
    is_of_nnuda,
    plans_of_source,
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
