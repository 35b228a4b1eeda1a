from __future__ import annotations

import json
import math

import pytest

from nnuda.selection.history import History
from nnuda.selection.rule import alarms, hindsight, regret, replaces, standing, vetoes

RULE = {
    "scores": ["entropy", "class_prior", "agreement"],
    "source_dice": 0.9,
    "class_share": 0.1,
    "classes": ["liver", "cyst", "stone"],
    "source_shares": [0.1, 0.01, 0.0001],
    "watched": [True, True, False],
    "regions": False,
}
GOOD = {
    "entropy": 0.1,
    "class_prior": 0.3,
    "agreement": 0.8,
    "density": 0.9,
    "source_dice": 0.8,
    "class_shares": [0.1, 0.01, 0.0],
}


def epochs(*changes: dict) -> list[dict]:
    return [{"epoch": i, **GOOD, **change} for i, change in enumerate(changes)]


def train(*changes: dict, rule: dict = RULE) -> History:
    history = History()
    for epoch in epochs(*changes):
        history.add(epoch["epoch"], epoch, "flip", epoch["source_dice"], rule)
    return history


def content(history: History, rule: dict = RULE) -> dict:
    selected = None if history.selected is None else history.selected["epoch"]
    return {"rule": rule, "epochs": history.epochs, "selected_epoch": selected}


def test_vetoes():
    first, fallen, kept = epochs({}, {"source_dice": 0.719}, {"source_dice": 0.721})
    assert vetoes(first, [first], RULE) == vetoes(kept, [first, fallen, kept], RULE) == []
    assert vetoes(fallen, [first, fallen], RULE) == ["source Dice 0.719 is below 0.9 of its best, 0.800"]
    gone, less = epochs({"class_shares": [0.1, 0.0009, 0]}, {"class_shares": [0.011, 0.0011, 0]})
    assert vetoes(gone, [gone], RULE) == ["cyst has 0.090 of its share of the source"]
    assert vetoes(less, [less], RULE) == []  # the unwatched stone may be missing
    broken, unused = epochs({"entropy": None}, {"density": None, "source_dice": None})
    assert vetoes(broken, [broken], RULE) == ["entropy has no value"] and vetoes(unused, [unused], RULE) == []


def test_standing_is_the_share_of_epochs_beaten():
    values = [(0.3, 1.0, 0.5), (0.2, 0.5, 0.7), (0.1, 0.8, 0.7), (None, 0.6, 0.9)]
    known = epochs(*({"entropy": e, "class_prior": c, "agreement": a} for e, c, a in values))
    for record in known[:3]:
        expected = 0
        for name, sign in (("entropy", -1), ("class_prior", -1), ("agreement", 1)):
            others = [other[name] for other in known if other[name] is not None]
            for other in others:
                better = sign * record[name] > sign * other
                expected += (1 if better else 0.5 if record[name] == other else 0) / len(others)
        assert standing(record, known, RULE["scores"]) == pytest.approx(expected / 3)
    assert standing(known[2], known, ["entropy"]) == pytest.approx(2.5 / 3)


def test_the_better_epoch_replaces_the_selected_one_and_the_worse_does_not():
    history = train(
        {},
        {"entropy": 0.05, "agreement": 0.85},
        {"entropy": 0.2, "class_prior": 0.5},
        {"entropy": 0.04, "agreement": 0.9, "class_prior": 0.2},
    )
    assert [epoch["selected"] for epoch in history.epochs] == [True, True, False, True]
    assert history.selected["epoch"] == 3


def test_growing_certainty_is_followed_as_far_as_the_classes_are_there():
    """Self-training gets ever surer while the classes shrink: two scores of three follow, the veto ends it."""
    shrinking = [
        {
            "entropy": 0.1 / (i + 1),
            "agreement": 0.9 + i / 1000,
            "class_prior": 0.05 + 0.16 * i,
            "class_shares": [0.1 * 0.85**i, 0.01 * 0.85**i, 0],
        }
        for i in range(30)
    ]
    history = train(*shrinking)
    assert [bool(epoch["vetoed"]) for epoch in history.epochs] == [0.85**i < 0.1 for i in range(30)]
    assert history.selected["epoch"] == 14


def test_an_epoch_is_judged_by_what_was_known():
    """No record changes when more epochs come."""
    changes = [
        {"entropy": 0.1 + 0.05 * math.sin(i), "class_prior": 0.3 + 0.2 * math.cos(2 * i), "source_dice": 0.7 + 0.01 * i}
        for i in range(12)
    ]
    whole = train(*changes)
    for n in range(1, 12):
        assert train(*changes[:n]).epochs == whole.epochs[:n]


def test_a_selected_epoch_that_the_source_outgrew_is_replaced_by_any_without_veto():
    history = train({"source_dice": 0.3, "entropy": 0.01, "agreement": 0.99, "class_prior": 0.01}, {"source_dice": 0.5})
    assert [epoch["selected"] for epoch in history.epochs] == [True, True]
    assert hindsight(content(history)) == 1


def test_nothing_is_selected_where_all_is_vetoed():
    history = train(*[{"class_shares": [0.1, 0, 0]}] * 3)
    assert history.selected is None and hindsight(content(history)) is None
    assert regret(content(history), [0.1, 0.5, 0.3])["rule"] == pytest.approx(0.2)  # the last
    assert math.isnan(regret(content(history), [0.1, 0.5, 0.3])["hindsight"])


def test_alarms():
    before = epochs({}, {})
    (gone,) = epochs({"class_shares": [0.1, 0, 0]})
    assert alarms(gone, before, RULE) == ["cyst has vanished"]
    (hardly,) = epochs({"class_shares": [0.1, 0.0049, 0]})
    assert alarms(gone, [gone, hardly], RULE) == []  # never found, or by chance: that is no collapse
    (empty,) = epochs({"class_shares": [0, 0, 0], "entropy": 1e-4})
    assert alarms(empty, [], RULE) == ["one class everywhere, with certainty"]
    assert alarms(empty, before, RULE)[:2] == ["liver has vanished", "cyst has vanished"]
    full, unsure = epochs({"class_shares": [1, 0, 0], "entropy": 1e-4}, {"class_shares": [0, 0, 0], "entropy": 0.3})
    assert len(alarms(full, [], RULE)) == 1 and alarms(unsure, [], RULE) == []
    (broken,) = epochs({"entropy": None})
    assert alarms(broken, before, RULE) == ["the network's output is NaN or infinite"]


def test_hindsight_knows_the_whole_training():
    """The first epoch is selected when it comes; only the later ones show that the second beats more of them."""
    changes = [
        {"entropy": 0.5, "class_prior": 0.50, "agreement": 0.5},
        {"entropy": 0.6, "class_prior": 0.40, "agreement": 0.49},
    ]
    later = [{"entropy": 0.9, "class_prior": 0.41 + i / 100, "agreement": 0.1} for i in range(5)]
    history = train(*changes, *later)
    assert history.selected["epoch"] == 0
    assert hindsight(content(history)) == 1


def test_regret_of_each_score():
    changes = [
        {"entropy": 0.3, "class_prior": 0.9, "agreement": 0.2, "density": 0.1, "source_dice": 0.80},
        {"entropy": 0.2, "class_prior": 0.1, "agreement": 0.9, "density": 0.9, "source_dice": 0.81},
        {"entropy": 0.1, "class_prior": 0.5, "agreement": 0.8, "density": 0.5, "source_dice": 0.82},
    ]
    history, dice = train(*changes), [0.4, 0.9, 0.6]
    assert history.selected["epoch"] == 1
    expected = {
        "entropy": 0.3,
        "class_prior": 0,
        "agreement": 0,
        "density": 0,
        "source_dice": 0.3,
        "rule": 0,
        "hindsight": 0,
        "last": 0.3,
    }
    assert regret(content(history), dice) == pytest.approx(expected)
    some = regret(content(history), [0.4, math.nan, 0.6])
    assert some["entropy"] == 0 and some["class_prior"] == 0 and math.isnan(some["rule"])


@pytest.mark.parametrize("dice, found", [([0.4], "got 1 values, 1"), ([math.nan, math.nan], "got 2 values, 0")])
def test_regret_needs_a_dice_an_epoch(dice, found):
    with pytest.raises(ValueError, match=found):
        regret(content(train({}, {})), dice)


def test_the_file_is_the_history_and_valid_json(tmp_path):
    history = train({}, {"entropy": None, "source_dice": None})
    history.write(str(tmp_path), RULE)
    written = json.loads((tmp_path / "selection.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert written == content(history) and list(tmp_path.iterdir()) == [tmp_path / "selection.json"]
    assert set(written["epochs"][0]) == {
        "epoch",
        "entropy",
        "class_prior",
        "agreement",
        "agreement_kind",
        "density",
        "source_dice",
        "class_shares",
        "vetoed",
        "selected",
        "alarm",
    }


def test_a_restored_history_goes_on_as_the_whole():
    changes = [{"entropy": 0.1 + 0.05 * math.sin(i)} for i in range(6)]
    whole, first, second = train(*changes), train(*changes[:3]), History()
    second.load_state_dict(first.state_dict())
    for epoch in epochs(*changes)[3:]:
        second.add(epoch["epoch"], epoch, "flip", epoch["source_dice"], RULE)
    assert second.state_dict() == whole.state_dict()


def test_the_selected_epoch_may_come_from_elsewhere():
    """After an interruption the file may hold an epoch that the resumed history does not know."""
    record, lost = epochs({}, {"entropy": 0.01, "agreement": 0.95})
    assert not replaces(record, {**lost, "epoch": 7}, [record], RULE)
    assert replaces(record, {**lost, "epoch": 7, "entropy": 0.5, "agreement": 0.1}, [record], RULE)
