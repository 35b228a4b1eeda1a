from __future__ import annotations

import json
import os

import pytest
from planning_pairs import SOURCE, TARGET, checksums

from nnuda.datasets import load_dataset
from nnuda.errors import PlanningError
from nnuda.plan_key import KEY, read_key
from nnuda.planning.choice import PlanChoice
from nnuda.planning.fingerprint import extract_source_fingerprint, extract_target_fingerprint
from nnuda.planning.plan import PlanRequest, trainable_configurations, write_plan
from nnuda.planning.variant import write_variant


def write(choice: PlanChoice, **options) -> dict:
    source, target = load_dataset(SOURCE), load_dataset(TARGET)
    return write_plan(
        PlanRequest(source, target, choice, **options),
        extract_source_fingerprint(source),
        extract_target_fingerprint(SOURCE, target),
    )


EXTEND = PlanChoice("nnUNetPlans", "nnUNetPlans", "nnUDAPlanner", None)


def test_a_stock_plan_gets_the_key_and_nothing_else(stock):
    before = (stock.of_source / "nnUNetPlans.json").read_text()
    write(EXTEND, settings={"training.num_epochs": 3})
    extended = stock.plan()
    key = extended.pop(KEY)
    assert json.dumps(extended, indent=4) == before
    assert key["plan"] == "extended" and key["source"] == SOURCE and key["settings"] == {"training.num_epochs": 3}
    assert (
        key["target"]["name"] == TARGET
        and key["target"]["num_cases"] == 4
        and key["target"]["folder"] == f"{SOURCE}/nnUDA_target_{TARGET}"
    )
    assert key["geometry"]["source"]["low_resolution_axis"] == 0 and key["geometry"]["target"][
        "median_spacing"
    ] == pytest.approx([3, 0.8, 0.8])
    assert key["memory"]["target_gb"] is None and key["memory"]["expected_gb_per_configuration"].keys() == {
        "2d",
        "3d_fullres",
    }
    read_key(stock.plan())


def test_extending_again_keeps_the_settings_unless_others_are_given(stock):
    write(EXTEND, settings={"training.num_epochs": 3})
    assert write(EXTEND)[KEY]["settings"] == {"training.num_epochs": 3}
    assert write(EXTEND, settings={"training.seed": 1})[KEY]["settings"] == {"training.seed": 1}


def test_a_copy_has_its_name_and_the_same_data(stock):
    before = checksums(stock.of_source)
    write(PlanChoice("second", "nnUNetPlans", "nnUDAPlanner", None))
    copy, original = stock.plan("second"), stock.plan()
    assert copy["plans_name"] == "second" and KEY not in original
    assert copy["configurations"] == original["configurations"]
    after = checksums(stock.of_source)
    assert {name: after[name] for name in before} == before


def test_a_fresh_plan(planned):
    key = planned.plan()[KEY]
    assert key["plan"] == "fresh" and key["memory"]["target_gb"] == 8 and key["memory"]["step"] == "nnUDATrainer"
    assert max(key["memory"]["expected_gb_per_configuration"].values()) < 8
    again = write(EXTEND)[KEY]
    assert again["plan"] == "fresh" and again["memory"] == key["memory"], "extending keeps where a plan came from"


def test_a_crash_while_writing_leaves_the_old_plan(stock, monkeypatch):
    before = (stock.of_source / "nnUNetPlans.json").read_text()

    def crash(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="disk full"):
        write(EXTEND)
    assert (stock.of_source / "nnUNetPlans.json").read_text() == before
    assert not list(stock.of_source.glob("*.tmp"))


def test_a_variant_has_other_settings_and_the_same_data(planned):
    before = checksums(planned.preprocessed)
    assert write_variant(planned.plan(), "seed1", {"training.seed": 1}) == ({"training.seed": 1}, False)
    other = {"training.seed": 2, "training.num_epochs": 5}
    assert write_variant(planned.plan("seed1"), "seed2", other) == (other, False)
    assert write_variant(planned.plan("seed1"), "seed2", other) == (other, True)
    variant, original = planned.plan("seed2"), planned.plan()
    assert variant["plans_name"] == "seed2" and variant[KEY]["settings"] == {
        "training.seed": 2,
        "training.num_epochs": 5,
    }
    variant["plans_name"], variant[KEY]["settings"] = "nnUNetPlans", {}
    assert variant == original
    after = checksums(planned.preprocessed)
    assert {name: after[name] for name in before} == before and len(after) == len(before) + 2


def test_a_variant_does_not_take_an_existing_name(planned):
    with pytest.raises(PlanningError, match="A plan nnUNetPlans is there already.*--as"):
        write_variant(planned.plan(), "nnUNetPlans", {})


def test_the_cascades_second_stage_is_not_trained():
    stage = {"architecture": {}}
    plans = {
        "configurations": {
            "3d_lowres": stage,
            "3d_fullres": stage,
            "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
            "mine": {"inherits_from": "3d_cascade_fullres"},
        }
    }
    assert trainable_configurations(plans) == ["3d_lowres", "3d_fullres"]
