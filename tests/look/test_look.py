"""nnUDA_look: what is measured, what is judged, and the page."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from browser import Browser, faults
from toy import SOURCE, TARGET, write_dataset

from nnuda.cli.look import main
from nnuda.evaluation.estimate import LOOK, PLAUSIBLE
from nnuda.look.judge import ADAPT, MEND, PERHAPS, REORIENT, WORKS, judge
from nnuda.planning.alike import Likeness
from nnuda.planning.measure import Side


def side(name: str, spacing: float = 1.0, codes: str = "LPS") -> Side:
    return Side(
        name,
        4,
        4,
        ["MR"],
        ["ZScoreNormalization"],
        np.full((4, 3), spacing),
        np.full((4, 3), 40),
        np.full((4, 3), 40.0),
        {codes: 4},
        np.zeros((4, 5)),
    )


def estimate(verdict: str) -> dict:
    mean = {"value": 0.8, "low": 0.7, "high": 0.9}
    return {"mean": mean, "per_case": {"a": {}}, "verdict": verdict, "reasons": [], "caution": "not certain"}


def test_the_first_rule_that_applies():
    a, b, same, other = side("a"), side("b"), Likeness([0.95], 0.5), Likeness([0.5], 0.5)
    assert judge(a, b, same, None, None).answer == PERHAPS
    assert judge(a, b, other, None, None).answer == ADAPT
    told = judge(a, b, Likeness([0.95], 0.9), None, None)
    assert told.answer == ADAPT and told.reasons == [
        "a classifier names the domain of 90% of the images right (chance level: 50%)"
    ]
    few = judge(a, b, Likeness([0.95], None), None, None)
    assert few.answer == PERHAPS and "Fewer than 8 images" in few.doubts[-1]
    assert judge(a, replace(b, channels=["LGE MR"]), same, None, None).answer == ADAPT
    assert judge(a, side("b", spacing=2.0), same, None, None).answer == ADAPT
    assert judge(a, replace(b, fields=b.fields * 2), same, None, None).answer == ADAPT
    assert judge(a, b, other, None, estimate(PLAUSIBLE)).answer == WORKS
    assert judge(a, b, same, None, estimate(LOOK)).answer == ADAPT
    assert judge(a, side("b", codes="RAS"), same, None, estimate(PLAUSIBLE)).answer == REORIENT
    assert judge(a, side("b", codes="RAS"), same, "no channel", None).answer == MEND
    for found in (judge(a, b, same, None, None), judge(a, b, other, None, estimate(PLAUSIBLE))):
        assert found.reasons and found.doubts


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    raw = tmp_path / "raw"
    for name in ("raw", "preprocessed", "results"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    write_dataset(raw / SOURCE, labelled=True, inverted=False)
    write_dataset(raw / TARGET, labelled=False, inverted=True)
    return raw


def look(folder: Path, *more: str) -> dict:
    page = folder / "look.html"
    main(["-d", "501", "-t", "502", "-o", str(page), *more])
    return json.loads(page.with_suffix(".json").read_text())


def test_inverted_contrast_needs_adaptation(raw, tmp_path, capsys):
    found = look(tmp_path)
    assert found["verdict"]["answer"] == ADAPT and found["common_area"][0] < 0.8
    out = capsys.readouterr().out
    assert f"{ADAPT.upper()}: intensities of MR and MR share" in out
    assert out.endswith("Next: adapt\n  nnUDA_adapt -d 501 -t 502 -c CONFIGURATION\n")
    assert found["source"]["cases"] == 4 and np.allclose(found["target"]["spacings"], [1.5, 1, 1])
    assert np.allclose(found["source"]["fields"], [18, 40, 40]) and found["estimate"] is None


def test_the_normalised_sample_is_nnunets(raw, tmp_path):
    """Z-scores of whole images: mean 0 and deviation 1 by construction, sampled here."""
    from nnuda.datasets import load_dataset
    from nnuda.planning.measure import measure_pair

    source, target = load_dataset(501), load_dataset(502)
    for measured in measure_pair(source, target, source.reader_class(), 2):
        assert measured.read == 2 and len(measured.raw[0]) == 2 * 12 * 40 * 40
        assert abs(measured.normalised[0].mean()) < 1e-3 and measured.normalised[0].std() == pytest.approx(1, abs=1e-3)


def test_of_a_large_volume_every_nth_slice_is_looked_at(raw, monkeypatch):
    from nnuda.datasets import load_dataset
    from nnuda.planning import measure

    source, target = load_dataset(501), load_dataset(502)
    monkeypatch.setattr(measure, "VOXELS_LOOKED_AT", 3 * 40 * 40)
    for domain, side in zip((source, target), measure.measure_pair(source, target, source.reader_class(), 4)):
        images = [sitk.GetArrayFromImage(sitk.ReadImage(files[0])) for files in domain.images.values()]
        assert np.array_equal(side.raw[0], np.concatenate([image[::4].ravel() for image in images]))
        assert (side.shapes == [12, 40, 40]).all() and np.allclose(side.fields[0], [18, 40, 40])


def test_an_image_whose_values_are_no_colours_is_named(raw, tmp_path):
    file = raw / TARGET / "dataset.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"channel_names": {"0": "rgb_to_0_1"}}))
    image = raw / TARGET / "imagesTr" / "case0_0000.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(image)) + 256, str(image))
    with pytest.raises(
        SystemExit, match="case0_0000.nii.gz: expected values from 0 to 255, since the channel is named rgb"
    ):
        look(tmp_path)


def test_an_image_with_nan_is_named(raw, tmp_path):
    for folder in (raw / SOURCE, raw / TARGET):
        for file in folder.glob("*Tr/*.nii.gz"):  # a reader makes zeros of a NIfTI file's NaN
            image = sitk.Cast(sitk.ReadImage(str(file)), sitk.sitkFloat32)
            if "case1" in file.name and folder.name == TARGET:
                image[0, 0, 0] = float("nan")
            sitk.WriteImage(image, str(file).replace(".nii.gz", ".nrrd"))
            file.unlink()
        content = json.loads((folder / "dataset.json").read_text())
        (folder / "dataset.json").write_text(json.dumps({**content, "file_ending": ".nrrd"}))
    with pytest.raises(SystemExit, match=rf"{TARGET}/imagesTr/case1_0000\.nrrd: NaN in the image"):
        look(tmp_path)
    assert not (tmp_path / "look.html").exists()


def test_other_orientation_is_reoriented_first(raw, tmp_path):
    for file in (raw / TARGET / "imagesTr").iterdir():
        image = sitk.ReadImage(str(file))
        image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
        sitk.WriteImage(image, str(file))
    found = look(tmp_path)
    assert found["verdict"]["answer"] == REORIENT and "Orientation codes differ" in found["warnings"][0]


def test_what_planning_would_stop_with_is_said(raw, tmp_path, capsys):
    file = raw / TARGET / "dataset.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "labels": {"background": 0, "left box": 2}}))
    found = look(tmp_path)
    assert found["verdict"]["answer"] == MEND and "Labels clash" in found["verdict"]["reasons"][0]
    assert capsys.readouterr().out.endswith("once the data is mended\n  nnUDA_look -d 501 -t 502\n")


def test_no_label_of_the_target_is_opened(raw, tmp_path, monkeypatch):
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    opened, original = [], SimpleITKIO.read_seg
    monkeypatch.setattr(SimpleITKIO, "read_seg", lambda self, file: opened.append(file) or original(self, file))
    look(tmp_path)
    assert opened and all(SOURCE in file for file in opened)


def test_the_page_shows_on_a_telephone_too(raw, tmp_path, browser: Browser):
    look(tmp_path)
    for width in (390, 1280):
        assert faults(browser, tmp_path / "look.html", width) == []


def test_a_trained_model_is_tried(toy_environment, toy, tmp_path):
    """A network of two steps: what counts is that everything is measured."""
    model = toy.trained("nnUDATrainerSourceOnly", "2d_toy", "nnUNetPlans")
    found = look(tmp_path, "--model", str(model), "-device", "cpu", "--model-cases", "2")
    assert found["verdict"]["answer"] in (ADAPT, WORKS) and len(found["estimate"]["per_case"]) == 2
    assert set(found["estimate"]["sizes"]) == {"left box", "right box"}
    assert "The model on the target" in (tmp_path / "look.html").read_text()


def test_the_rules_of_planning_are_said_before_it(raw, tmp_path, capsys):
    """Two boxes on the two sides of an axis, in each of six label maps."""
    shutil.rmtree(raw / SOURCE)
    write_dataset(raw / SOURCE, labelled=True, inverted=False, cases=6)
    for file in (raw / SOURCE / "labelsTr").iterdir():
        label = sitk.ReadImage(str(file))
        array = np.zeros_like(sitk.GetArrayFromImage(label))
        array[3:9, 10:30, 4:12], array[3:9, 10:30, 28:36] = 1, 2
        changed = sitk.GetImageFromArray(array)
        changed.CopyInformation(label)
        sitk.WriteImage(changed, str(file))
    assert [rule["rule"] for rule in look(tmp_path)["rules"]] == ["left and right"]
    reason = "left box before right box along array axis 2"
    assert reason in " ".join(capsys.readouterr().out.split())
    assert reason in unescape((tmp_path / "look.html").read_text())
