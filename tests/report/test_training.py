"""Curves, label-free scores and alarms of a training."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_run import make_run, selection

from nnuda.report.page import Pictures, Table, Text
from nnuda.report.run import read_run
from nnuda.report.training import NOT_LOGGED, losses_section, selection_section, training_alarms
from nnuda.selection.rule import SIGN, hindsight, regret


def test_a_picture_a_term(tmp_path: Path) -> None:
    run = read_run(
        str(make_run(tmp_path, logged={"nnUDA/distance/disc": [1.0, 2.0], "nnUDA/distance/ring": [2.0, 1.0]}))
    )
    pictures = {
        picture.alt.removesuffix(" over epochs"): picture.caption for picture in losses_section(run).blocks[0].pictures
    }
    assert pictures["similarity"] == "unweighted; weight 0.5" and pictures["distance"].startswith("no loss")
    assert {"loss on the source", "contrast", "pseudo Dice of each class", "learning rate"} < set(pictures)


def test_scores_and_what_was_chosen(tmp_path: Path) -> None:
    section = selection_section(read_run(str(make_run(tmp_path))), None)
    table, pictures = section.blocks[:2]
    chosen = {row[0]: (row[1], row[-1]) for row in table.rows[1:]}
    assert chosen == {
        "selected while training": ("0", "no"),
        "with hindsight": (str(hindsight(selection())), "no"),
        "last": ("1", "yes"),
    }
    assert isinstance(pictures, Pictures) and len(pictures.pictures) == len(SIGN) + 1
    reasons = [block for block in section.blocks if isinstance(block, Table)][1]
    assert reasons.rows[1:] == [["epoch 1", "disc has vanished", "disc has 0.000 of its share of the source"]]
    assert reasons.marked == {0}
    assert not any("oracle" in block.text for block in section.blocks if isinstance(block, Text))


def test_regret_of_each_way_of_choosing(tmp_path: Path) -> None:
    dice = {0: 0.5, 1: 0.7}
    blocks = selection_section(read_run(str(make_run(tmp_path))), dice).blocks
    text = next(block.text for block in blocks if isinstance(block, Text) and "oracle" in block.text)
    assert text.startswith("oracle: true") and "epoch 1, Dice 0.700" in text
    table = [block for block in blocks if isinstance(block, Table)][-1]
    expected = regret(selection(), [0.5, 0.7])
    assert [row[1] for row in table.rows[1:]] == [f"{value:.3f}" for value in expected.values()]
    assert dict(table.rows)["rule"] == "0.200" and dict(table.rows)["last"] == "0.000"


def test_without_scores_it_is_said(tmp_path: Path) -> None:
    run = read_run(str(make_run(tmp_path, with_selection=False)))
    assert [block.text for block in selection_section(run, None).blocks] == [NOT_LOGGED]


VETOED = [
    "disc has vanished (epoch 1).",
    "The last epoch is vetoed (disc has 0.000 of its share of the source); checkpoint_selected.pth holds epoch 0.",
]


@pytest.mark.parametrize(
    "with_selection, logged, expected",
    [
        (True, {}, VETOED),
        (False, {}, []),
        (False, {"mean_fg_dice": [0.8, 0.7]}, ["Pseudo Dice on the source ends at 0.700, 0.100 below its best."]),
        (False, {"train_losses": [1.0, float("nan")]}, ["The training loss is not finite in epoch 1."]),
    ],
)
def test_alarms(tmp_path: Path, with_selection: bool, logged: dict, expected: list[str]) -> None:
    assert training_alarms(read_run(str(make_run(tmp_path, with_selection=with_selection, logged=logged)))) == expected
