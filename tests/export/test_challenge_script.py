"""documentation/how-to/challenge/predict.py as a container runs it: none of nnU-Net's variables, no network; in the
layout of each challenge."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from toy import CPU, TARGET

from nnuda.export.export_model import export_model
from nnuda.export.trained_model import find_model
from nnuda.export.verify import predict
from nnuda.predictor import load_predictor

FOLDER = Path(__file__).parents[2] / "documentation" / "how-to" / "challenge"
SCRIPT = FOLDER / "predict.py"
DIRECTION = (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("challenge_predict", SCRIPT)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def turned_image(toy, number: int) -> sitk.Image:
    """A case as challenges give them: a turned and shifted patient."""
    image = sitk.ReadImage(str(toy.raw / TARGET / "imagesTr" / f"case{number}_0000.nii.gz"))
    image.SetDirection(DIRECTION)
    image.SetOrigin((-12.5, 100.1, 1 / 3))
    return image


def write_inputs(toy, folder: Path) -> None:
    """Two cases as .mha, no _0000."""
    folder.mkdir()
    for name, number in (("0a7f-patient_0012", 0), ("b", 1)):
        sitk.WriteImage(turned_image(toy, number), str(folder / f"{name}.mha"))
    (folder / "readme.txt").write_text("not an image")


def check_output(image: Path, output: Path, labels: np.ndarray) -> None:
    image, output = (sitk.ReadImage(str(path)) for path in (image, output))
    assert output.GetOrigin() == image.GetOrigin() and output.GetSpacing() == image.GetSpacing()
    assert output.GetDirection() == image.GetDirection()
    assert labels.any() and np.array_equal(sitk.GetArrayFromImage(output), labels)


def check_outputs(inputs: Path, outputs: Path, expected: list[np.ndarray]) -> None:
    files = sorted(inputs.glob("*.mha"))
    assert sorted(path.name for path in outputs.iterdir()) == [path.name for path in files]
    for path, labels in zip(files, expected):
        check_output(path, outputs / path.name, labels)


def labels_of(model, toy) -> list[np.ndarray]:
    predictor = load_predictor(model.folder, model.folds, model.checkpoint, torch.device("cpu"))
    return [predict(predictor, [str(toy.raw / TARGET / "imagesTr" / f"case{number}_0000.nii.gz")]) for number in (0, 1)]


def test_an_exported_model_in_an_environment_without_nnuda(toy_environment, trained, plain, tmp_path):
    toy = toy_environment
    model = find_model("501", "nnUDATrainerSourceOnly", "exported", "2d_toy", ["0", "1"], "checkpoint_final.pth")
    exported = export_model(model, None, torch.device("cpu"), str(tmp_path)).folder
    write_inputs(toy, tmp_path / "input")
    said = plain.execute(
        {}, SCRIPT, "-i", tmp_path / "input", "-o", tmp_path / "output", "-m", exported, "-device", "cpu"
    )
    assert "folds 0 1, on cpu" in said
    check_outputs(tmp_path / "input", tmp_path / "output", labels_of(model, toy))


def test_a_network_of_its_own_with_nnuda(toy_environment, uuds, tmp_path):
    toy = toy_environment
    write_inputs(toy, tmp_path / "input")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("nnUNet_", "nnUDA_"))}
    words = [SCRIPT, "-i", tmp_path / "input", "-o", tmp_path / "output", "-m", uuds, "-device", "cpu"]
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    model = find_model("501", "nnUDATrainerUUDS", "exported_uuds", "2d_toy", ["all"], "checkpoint_final.pth")
    check_outputs(tmp_path / "input", tmp_path / "output", labels_of(model, toy))


# ---- the layouts ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(toy, trained, tmp_path_factory) -> tuple[Path, list[np.ndarray]]:
    """An exported model of one fold, and the labels of two cases before the export."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**CPU, **toy.folders}.items():
            patch.setenv(name, value)
        model = find_model("501", "nnUDATrainerSourceOnly", "exported", "2d_toy", ["1"], "checkpoint_final.pth")
        out = tmp_path_factory.mktemp("exported")
        return export_model(model, None, torch.device("cpu"), str(out)).folder, labels_of(model, toy)


@pytest.fixture
def call(script, monkeypatch):
    """call(words): the script with these arguments, in this process."""

    def call(*words: str | Path) -> None:
        monkeypatch.setattr(sys, "argv", [str(word) for word in ("predict.py", *words, "-device", "cpu")])
        script.main()

    return call


def words_of(stage: str) -> list[str]:
    """What a stage of the Dockerfile runs the script with."""
    text = (FOLDER / "Dockerfile").read_text().split(f" AS {stage}\n")[1].split("\nFROM ")[0]
    entry = re.search(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)
    words = json.loads(entry[1]) if entry else re.search(r"echo '(.*)' > predict\.sh", text)[1].split()
    assert words[:2] == ["python", "/opt/predict.py"]
    return words[2:]


@pytest.mark.parametrize(
    "words, image, label",
    [
        (words_of("flare"), "FLARE22Ts_0001_0000.nii.gz", "FLARE22Ts_0001.nii.gz"),
        (words_of("crossmoda"), "crossmoda2022_etz_7_hrT2.nii.gz", "crossmoda2022_etz_7_Label.nii.gz"),
        (["--layout", "crossmoda-2023"], "crossmoda2023_ukm_3_T2.nii.gz", "crossmoda2023_ukm_3.nii.gz"),
        (words_of("folder"), "case.nrrd", "case.nrrd"),
    ],
    ids=["flare", "crossmoda", "crossmoda-2023", "folder"],
)
def test_names_of_each_challenge(toy, exported, call, tmp_path, words, image, label):
    model, (labels, _) = exported
    (tmp_path / "in").mkdir()
    sitk.WriteImage(turned_image(toy, 0), str(tmp_path / "in" / image))
    call(*words, "-i", tmp_path / "in", "-o", tmp_path / "out", "-m", model)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [label]
    check_output(tmp_path / "in" / image, tmp_path / "out" / label, labels)


def write_sockets(folder: Path, images: dict[str, sitk.Image], listed: bool) -> None:
    """grand-challenge's /input: an image a socket, below relative paths that only inputs.json knows if there is one."""
    sockets = []
    for slug, image in images.items():
        path = f"images/{slug}-of-this-phase" if listed else f"images/{slug}"
        (folder / path).mkdir(parents=True)
        sitk.WriteImage(image, str(folder / path / f"uuid-of-{slug}.mha"))
        socket = {"slug": slug, "kind": "MR", "super_kind": "Image", "relative_path": path}
        sockets.append({"file": None, "image": {"name": "x.nii"}, "value": None, "interface": socket})
    age = {"slug": "age", "kind": "Integer", "super_kind": "Value", "relative_path": "age.json"}
    if listed:
        content = [{"file": None, "image": None, "value": 70, "interface": age}, *sockets]
        (folder / "inputs.json").write_text(json.dumps(content))


@pytest.mark.parametrize("listed", [True, False])
def test_a_job_of_grand_challenge(toy, exported, call, tmp_path, listed):
    model, (_, labels) = exported
    unpacked = tmp_path / "opt" / "ml" / "model"  # as a tarball may unpack: the results folder in it
    shutil.copytree(model, unpacked / "results")
    write_sockets(tmp_path / "in", {"t2-mri": turned_image(toy, 1)}, listed)
    words = [*words_of("grand-challenge"), "-i", tmp_path / "in", "-o", tmp_path / "out", "-m", unpacked]
    call(*["organs" if word == "SLUG" else word for word in words])
    (image,), (label,) = (list((tmp_path / name).rglob("*.mha")) for name in ("in", "out"))
    assert label == tmp_path / "out" / "images" / "organs" / "uuid-of-t2-mri.mha"
    check_output(image, label, labels)


def test_the_platforms_folders(script, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["predict.py", *words_of("grand-challenge")])
    args = script.read_arguments()
    assert [str(path) for path in (args.i, args.o, args.m)] == ["/input", "/output", "/opt/ml/model"]
    monkeypatch.setattr(sys, "argv", ["predict.py", *words_of("flare")])
    args = script.read_arguments()
    assert [str(path) for path in (args.i, args.o, args.m)] == ["/workspace/inputs", "/workspace/outputs", "/opt/model"]


def widened(model: Path, folder: Path, shares: list[float], **dataset: str) -> Path:
    """The model with more channels, of which each has its share: where all see one image, and the shares add to one, it
    gives the labels of the model of one channel."""
    shutil.copytree(model, folder)
    for name in ("dataset.json", "plans.json"):
        content = json.loads((folder / name).read_text())
        if name == "dataset.json":
            content |= {"channel_names": {str(i): f"c{i}" for i in range(len(shares))}, **dataset}
            content.pop("overwrite_image_reader_writer", None)
        else:
            if dataset:
                content["image_reader_writer"] = "NaturalImage2DIO"
            intensities = content["foreground_intensity_properties_per_channel"]
            content["foreground_intensity_properties_per_channel"] = {
                str(i): intensities["0"] for i in range(len(shares))
            }
            for configuration in content["configurations"].values():
                for key in {"normalization_schemes", "use_mask_for_norm"} & set(configuration):
                    configuration[key] = configuration[key][:1] * len(shares)
        (folder / name).write_text(json.dumps(content))
    (file,) = folder.glob("fold_*/checkpoint_final.pth")
    checkpoint = torch.load(file, weights_only=False)
    for name, weight in checkpoint["network_weights"].items():
        if weight.ndim == 4 and weight.shape[1] == 1:
            checkpoint["network_weights"][name] = torch.cat([share * weight for share in shares], 1)
    torch.save(checkpoint, file)
    return folder


def test_several_sockets_are_channels_in_the_order_of_their_names(toy, exported, call, tmp_path):
    model = widened(exported[0], tmp_path / "model", [1.0, 0.0])  # the second channel is not looked at
    images = {"adc": turned_image(toy, 0), "t2": turned_image(toy, 1)}
    write_sockets(tmp_path / "in", images, listed=True)
    words = ["--layout", "grand-challenge", "--label", "organs", "-i", tmp_path / "in", "-m", model]
    for order, labels in ((["t2", "adc"], exported[1][1]), (["adc", "t2"], exported[1][0])):
        call(*words, "-o", tmp_path / order[0], "--images", *order)
        (label,) = (tmp_path / order[0]).rglob("*.mha")
        assert label.name == f"uuid-of-{order[0]}.mha"
        assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(label))), labels)
    with pytest.raises(SystemExit, match="2 channel.*found adc, t2. Name them in the order"):
        call(*words, "-o", tmp_path / "none")
    with pytest.raises(SystemExit, match="image sockets t1 t2, .*found adc, t2"):
        call(*words, "-o", tmp_path / "none", "--images", "t1", "t2")


@pytest.mark.parametrize("layout, ending", [("folder", ".png"), ("folder", ".tif"), ("grand-challenge", ".mha")])
def test_colour_images(toy, exported, call, tmp_path, layout, ending):
    model = widened(exported[0], tmp_path / "model", [0.5, 0.25, 0.25], file_ending=".png")
    grey = np.clip(sitk.GetArrayFromImage(turned_image(toy, 0))[5] - 100, 0, 255).astype(np.uint8)
    picture = sitk.Compose(*[sitk.GetImageFromArray(grey)] * 3)
    slices = tmp_path / "slices" / "a_0000.nii.gz"
    slices.parent.mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(grey[None].astype(np.float32)), str(slices))
    call("-i", slices.parent, "-o", tmp_path / "expected", "-m", exported[0])
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "expected" / "a.nii.gz")))[0]
    if layout == "folder":
        (tmp_path / "in").mkdir()
        sitk.WriteImage(picture, str(tmp_path / "in" / f"a{ending}"))
    else:
        write_sockets(tmp_path / "in", {"fundus": picture}, listed=True)
    call("--layout", layout, "--label", "cup", "-i", tmp_path / "in", "-o", tmp_path / "out", "-m", model)
    (label,) = (path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert label.suffix == ending
    assert expected.any() and np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(label))), expected)


@pytest.mark.parametrize(
    "words, name, components, message",
    [
        (["--layout", "flare"], "a.nii.gz", 1, r"named CASE_0000.nii.gz. Found a.nii.gz"),
        (["--layout", "flare"], "a_0000.mha", 1, r"named CASE_0000.nii.gz. Found none"),
        (["--layout", "crossmoda"], "a_T2.nii.gz", 1, r"named CASE_hrT2.nii.gz. Found a_T2.nii.gz"),
        (["--layout", "folder"], "a.mha", 3, r"a.mha: expected 1 channel\(s\), as the model has; found 3 value"),
        (["--layout", "folder"], "a.png", 3, r"end with .mha or .nii.gz or .nii or .nrrd: 1 per case.*Found .*a.png"),
        (["--layout", "grand-challenge", "--label", "x"], "a.mha", 1, r"found none. Name them"),
    ],
)
def test_other_inputs_stop_with_one_sentence(exported, call, tmp_path, words, name, components, message):
    (tmp_path / "in").mkdir()
    image = sitk.GetImageFromArray(np.zeros((8, 8) if name.endswith("png") else (4, 8, 8), np.uint8))
    sitk.WriteImage(sitk.Compose(*[image] * components) if components > 1 else image, str(tmp_path / "in" / name))
    with pytest.raises(SystemExit, match=message):
        call(*words, "-i", tmp_path / "in", "-o", tmp_path / "out", "-m", exported[0])
    assert not (tmp_path / "out").exists()


def test_channels_of_two_sizes_or_no_image_stop(script, tmp_path):
    for name, size in (("a", 8), ("b", 9)):
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, size, 8), np.uint8)), str(tmp_path / f"{name}.mha"))
    with pytest.raises(SystemExit, match=r"a.mha, b.mha: expected images of one size; found \(8, 8, 4\) and"):
        script.check_channels([tmp_path / "a.mha", tmp_path / "b.mha"], 2)
    with pytest.raises(SystemExit, match="a.mha: expected 2D images"):
        script.check_channels([tmp_path / "a.mha"], 1, flat=True)
    (tmp_path / "c.mha").write_text("<html>")
    with pytest.raises(SystemExit, match="c.mha: expected an image"):
        script.check_channels([tmp_path / "c.mha"], 1)


def test_grand_challenge_needs_the_output_socket(call, capsys):
    with pytest.raises(SystemExit):
        call("--layout", "grand-challenge")
    assert "--label SLUG" in capsys.readouterr().err


# ---- names without a layout -----------------------------------------------------------------------------------------


def find(script, tmp_path: Path, names: list[str], channels: int) -> dict[str, list[str]]:
    for name in names:
        (tmp_path / name).touch()
    cases = script.find_cases(tmp_path, script.VOLUMES, channels)
    return {case: [path.name for path in files] for case, files in cases.items()}


@pytest.mark.parametrize(
    "names, channels, expected",
    [
        (["a_0000.nii.gz", "b_0000.nii.gz"], 1, {"a": ["a_0000.nii.gz"], "b": ["b_0000.nii.gz"]}),
        (["a_0000.mha", "a_0001.mha"], 1, {"a_0000": ["a_0000.mha"], "a_0001": ["a_0001.mha"]}),
        (["a_0001.mha", "a_0000.mha"], 2, {"a": ["a_0000.mha", "a_0001.mha"]}),
        (["uuid.mha", "note.json"], 1, {"uuid": ["uuid.mha"]}),
    ],
)
def test_cases_by_name(script, tmp_path, names, channels, expected):
    assert find(script, tmp_path, names, channels) == expected


@pytest.mark.parametrize(
    "names, channels, message",
    [
        (["a.png"], 1, "end with .mha or .nii.gz or .nii or .nrrd: 1 per case.*a.png"),
        (["a_0000.mha"], 2, "2 per case.*Found a has 1"),
        (["a.mha", "a.nii.gz"], 1, "Found a has 2"),
    ],
)
def test_other_files_stop_with_what_was_found(script, tmp_path, names, channels, message):
    with pytest.raises(SystemExit, match=message):
        find(script, tmp_path, names, channels)


def test_a_folder_without_a_model_stops(script, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["predict.py", "-m", str(tmp_path)])
    with pytest.raises(SystemExit, match="Expected a model in .*fold_x/checkpoint_final.pth"):
        script.main()
