from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from planning_pairs import RAS, SOURCE, TARGET, write_dataset

from nnuda.cli.plan_experiment import main as plan_experiment
from nnuda.plan_key import KEY, chosen_settings, read_key
from nnuda.planning.rules import find
from nnuda.planning.variant import write_variant
from nnuda.settings import effective_settings, load_preset, validate_overrides
from nnuda.training.frozen import freeze
from nnuda.training.loss_terms import loss_terms


def domain(shape: tuple[float, ...], spacing: tuple[float, ...]) -> dict:
    return {"median_shape": [float(n) for n in shape], "median_spacing": [float(s) for s in spacing]}


HEART = domain((12, 192, 192), (8, 0.75, 0.75))


def found(source: dict, target: dict) -> dict[str, dict]:
    return {finding["rule"]: finding for finding in find({"source": source, "target": target})}


def test_domains_that_are_alike_need_no_rule():
    assert found(HEART, HEART) == {}
    assert found(HEART, domain((15, 192, 192), (5, 0.73, 0.73))) == {}


def test_a_larger_field_of_view_changes_what_class_shares_mean():
    """The same organ in a body of 2.5 x 2 x 1 times the size has a fifth of its share."""
    finding = found(HEART, domain((30, 384, 192), (8, 0.75, 0.75)))["field of view"]
    assert finding["settings"] == {"selection.scores": ["entropy", "agreement"], "selection.class_share": 0.02}
    assert finding["measured"]["volume_ratio"] == 5 and finding["measured"]["source_mm"] == [96, 144, 144]
    assert "5 times the volume" in finding["reason"] and "240 x 288 x 144 mm" in finding["reason"]


def test_a_smaller_one_makes_shares_larger_so_that_none_is_missed_for_that():
    finding = found(HEART, domain((12, 96, 96), (8, 0.75, 0.75)))["field of view"]
    assert finding["settings"] == {"selection.scores": ["entropy", "agreement"]}


@pytest.mark.parametrize("factor, warned", [(1.9, False), (2.1, True), (1 / 2.1, True)])
def test_detail_that_one_domain_lacks(factor, warned):
    """Longer voxels, fewer of them: the field of view is the same."""
    target = domain((12 / factor, 192, 192), (8 * factor, 0.75, 0.75))
    findings = found(HEART, target)
    assert ("resolution" in findings) == warned and "field of view" not in findings
    if warned:
        coarse = "target" if factor > 1 else "source"
        assert f"axis 0 the {coarse}'s voxels are 2.1 times" in findings["resolution"]["reason"]
        assert findings["resolution"]["settings"] == {}


def test_images_without_a_spacing_are_compared_by_their_size():
    small, large = domain((1, 100, 120), (999, 1, 1)), domain((1, 300, 360), (999, 1, 1))
    assert found(small, large).keys() == {"magnification"} and found(small, small) == {}
    assert "3 times as wide" in found(small, large)["magnification"]["reason"]
    assert found(small, HEART) == {}, "one with and one without cannot be compared"
    brain = domain((150, 200, 200), (1, 1, 1))  # 1 mm is a spacing
    assert found(brain, domain((300, 200, 200), (1, 1, 1))) == {}
    assert found(brain, domain((300, 400, 200), (1, 1, 1))).keys() == {"field of view"}


def test_a_rule_speaks_of_settings_that_exist_and_gives_values_that_they_take():
    finding = found(HEART, domain((60, 384, 384), (8, 0.75, 0.75)))["field of view"]
    validate_overrides(finding["settings"])
    entries = load_preset("base")
    assert all(entries[name]["value"] != value for name, value in finding["settings"].items())


def test_the_plan_holds_what_was_found_and_the_user_counts_more(folders, capsys):
    write_dataset(folders.raw, SOURCE, labelled=True)
    write_dataset(folders.raw, TARGET, labelled=False, shape=(8, 64, 64), seed=1)
    plan_experiment(["-d", "701", "-t", "702", "-np", "1"])
    key = read_key(folders.plan())
    assert [rule["rule"] for rule in key["rules"]] == ["field of view"] and key["settings"] == {}
    assert "Rule field of view: The target's images show 4 times" in capsys.readouterr().out
    dataset_json = json.loads((folders.raw / SOURCE / "dataset.json").read_text())
    settings = freeze(folders.plan(), "source_only", dataset_json)
    assert settings["selection.class_share"] == 0.025 and settings["selection.scores"] == ["entropy", "agreement"]
    write_variant(folders.plan(), "mine", {"selection.class_share": 0.1})
    chosen = chosen_settings(folders.plan("mine")[KEY])
    assert chosen == {"selection.scores": ["entropy", "agreement"], "selection.class_share": 0.1}
    assert freeze(folders.plan("mine"), "source_only", dataset_json)["selection.class_share"] == 0.1


def test_a_plan_of_an_earlier_version_has_no_rules(folders):
    assert chosen_settings({"settings": {"training.seed": 1}}) == {"training.seed": 1}
    assert effective_settings("source_only", {})["selection.class_share"] == 0.1


@pytest.mark.parametrize(
    "change, alike",
    [
        ({"seed": 1}, True),
        ({"seed": 1, "cases": 7}, False),  # too few to say
        ({"seed": 1, "channel_names": ("T2",)}, False),
        ({"seed": 1, "spacing": (8.0, 1.0, 1.0)}, False),
        ({"seed": 1, "direction": RAS}, False),
    ],
)
@pytest.mark.slow
def test_where_no_shift_is_to_be_seen_strong_augmentation_is_left_away(folders, capsys, change, alike):
    write_dataset(folders.raw, SOURCE, labelled=True, cases=8)
    write_dataset(folders.raw, TARGET, labelled=False, **{"cases": 8, **change})
    plan_experiment(["-d", "701", "-t", "702", "-np", "1"])
    key = read_key(folders.plan())
    findings = {rule["rule"]: rule for rule in key["rules"]}
    assert ("no shift to be seen" in findings) == alike
    assert ("Sets training.augmentation=nnunet" in capsys.readouterr().out) == alike
    dataset_json = json.loads((folders.raw / SOURCE / "dataset.json").read_text())
    used = freeze(folders.plan(), "adapt", dataset_json)
    assert used["training.augmentation"] == ("nnunet" if alike else "strong")
    assert loss_terms(used)["teacher"].weight == (0.3 if alike else 1)
    assert loss_terms(freeze(folders.plan(), "source_only", dataset_json)) == {}
    write_variant(folders.plan(), "paper", {"training.recipe": "paper"})
    assert loss_terms(freeze(folders.plan("paper"), "transmedseg", dataset_json))["teacher"].weight == 1
    write_variant(folders.plan(), "mine", {"training.augmentation": "strong"})
    assert freeze(folders.plan("mine"), "adapt", dataset_json)["training.augmentation"] == "strong"


def inverted(array: np.ndarray) -> np.ndarray:
    return array.max() + array.min() - array**3 / array.max() ** 2


def scrambled(array: np.ndarray) -> np.ndarray:
    """The same intensities at other places: no histogram tells."""
    return np.random.default_rng(0).permutation(array.ravel()).reshape(array.shape)


@pytest.mark.parametrize("change", [inverted, scrambled])
@pytest.mark.slow
def test_other_images_of_the_same_channel_are_a_shift(folders, change):
    write_dataset(folders.raw, SOURCE, labelled=True, cases=8)
    write_dataset(folders.raw, TARGET, labelled=False, seed=1, cases=8)
    for file in (folders.raw / TARGET / "imagesTr").iterdir():
        image = sitk.ReadImage(str(file))
        changed = sitk.GetImageFromArray(change(sitk.GetArrayFromImage(image)))
        changed.CopyInformation(image)
        sitk.WriteImage(changed, str(file))
    plan_experiment(["-d", "701", "-t", "702", "-np", "1"])
    assert "no shift to be seen" not in [rule["rule"] for rule in read_key(folders.plan())["rules"]]
