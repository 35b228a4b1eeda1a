"""What is not as it should be ends with one message that names it, and nothing is left behind."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import owner_files
import pytest
import SimpleITK as sitk
from owner_files import EXAMPLES, LPS, RAS, SHAPE, nifti

from nnuda.cli.convert import main
from nnuda.convert.collections import COLLECTIONS
from nnuda.convert.engine import ConversionError, Request, convert
from nnuda.convert.images import ImageError, map_values, read_image, sort_slices
from nnuda.convert.layout import LayoutError


@pytest.fixture
def owner(tmp_path) -> Path:
    folder = tmp_path / "owner"
    folder.mkdir()
    return folder


def run(owner: Path, name: str = "mmwhs", **options) -> str:
    return convert(Request(name, str(owner), str(owner.parent / "raw"), **options))


def nothing_left(owner: Path) -> bool:
    raw = owner.parent / "raw"
    return not raw.exists() or not list(raw.iterdir())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{e.collection}-{e.source}")
def test_a_wrong_layout_names_what_is_missing(example, owner):
    nifti(np.zeros(SHAPE), RAS, owner / "somewhere" / "scan.nii.gz")
    with pytest.raises(LayoutError, match="somewhere/scan.nii.gz") as raised:
        run(owner, example.collection, source=example.source, target=example.target)
    message = str(raised.value)
    assert "<case>" in message or "Dataset_information" in message
    assert str(owner) in message and nothing_left(owner)


def test_missing_labels_are_named(owner):
    owner_files.mmwhs(owner)
    (owner / "mr_train" / "mr_train_1002_label.nii.gz").unlink()
    with pytest.raises(LayoutError, match=r"<case>_label.nii.gz .* 1 of 3 have none: mr_train_1002"):
        run(owner)
    run(owner, skip=("mr_train_1002",))


@pytest.mark.parametrize("part", ["no input", "one file twice", "no table", "other columns"])
def test_other_faults_of_the_layout(part, owner):
    if part == "no input":
        with pytest.raises(LayoutError, match="INPUT: expected the folder"):
            run(owner / "gone")
    elif part == "one file twice":
        owner_files.mmwhs(owner)
        shutil.copytree(owner / "mr_train", owner / "copy")
        with pytest.raises(LayoutError, match="expected one file .* got copy/mr_train_1001"):
            run(owner)
    else:
        owner_files.mms(owner)
        table = next((owner / "OpenDataset").glob("*.csv"))
        table.unlink() if part == "no table" else table.write_text("External code,Vendor\nx,A\n")
        with pytest.raises(
            LayoutError, match="the table .*Dataset_information" if part == "no table" else "expected columns"
        ):
            run(owner, "mms")


def test_unknown_values_and_grids_are_refused(owner):
    owner_files.mmwhs(owner)
    label = owner / "mr_train" / "mr_train_1001_label.nii.gz"
    nifti(np.full(SHAPE, 7), owner_files.CORONAL, label)
    with pytest.raises(ImageError, match="expected the values 0, 205, .* got also 7"):
        run(owner)
    nifti(np.full(SHAPE, 205), RAS, label)
    with pytest.raises(ImageError, match=r"expected the grid of its image .* got 6 x 8 x 4 voxels of 1.5"):
        run(owner)
    assert nothing_left(owner)
    pair = Path(run(owner, same_grid=True))
    assert json.loads((pair / "provenance.json").read_text())["settings"]["same_grid"] is True
    other = np.zeros((6, 8, 5))
    nifti(other, RAS, label)
    shutil.rmtree(owner.parent / "raw")
    with pytest.raises(ImageError, match="6 x 8 x 5 voxels"):
        run(owner, same_grid=True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"source": "pet"}, "--source: expected one of ct, mr; got pet"),
        ({"source": "ct"}, "Expected two domains"),
        ({"numbers": (5, 5)}, "Expected two domains and two numbers"),
    ],
)
def test_options_that_do_not_fit(options, says, owner):
    owner_files.mmwhs(owner)
    with pytest.raises(ConversionError, match=says):
        run(owner, **options)


def test_a_domain_without_labels_is_no_source(owner):
    owner_files.crossmoda(owner)
    with pytest.raises(ConversionError, match="expected a domain with labels, cet1; hrt2 has none"):
        run(owner, "crossmoda", source="hrt2", target="cet1")


def test_a_target_that_is_held_out_as_a_whole_is_transductive(owner):
    owner_files.mms(owner)
    shutil.rmtree(owner / "OpenDataset" / "Training" / "Labeled" / "A1S9V9")
    table = next((owner / "OpenDataset").glob("*.csv"))
    table.write_text(table.read_text().replace(",B,", ",D,"))
    pair = Path(run(owner, "mms", target="d"))
    split = json.loads((pair / "split.json").read_text())["target"]
    assert split["training"] == split["test"] == ["A3S9V9_ED", "A3S9V9_ES"]
    assert len(list((pair.parent / "Dataset502_MMs_D" / "imagesTr").iterdir())) == 2
    with pytest.raises(LayoutError, match="domain d"):
        run(owner, "mms", source="d", target="a")


def test_a_users_folder_is_left_alone(owner):
    owner_files.mmwhs(owner)
    mine = owner.parent / "raw" / "Dataset502_Mine"
    mine.mkdir(parents=True)
    with pytest.raises(ConversionError, match=r"Dataset502_Mine \(-t\)"):
        run(owner)
    assert [path.name for path in (owner.parent / "raw").iterdir()] == ["Dataset502_Mine"]
    run(owner, numbers=(501, 503))
    (owner / "ct_train" / "ct_train_1001_label.nii.gz").write_bytes(b"another")
    with pytest.raises(ConversionError, match="got one of others"):
        run(owner, numbers=(501, 503))


def test_headers_of_the_crops_are_repaired_once(owner):
    for folder, affine in (("C0", np.diag([1.25, 1.25, 8, 1])), ("LGE", np.diag([0.75, 0.75, 5, 1]))):
        for i, correct in ((1, False), (2, True)):
            spacing = np.diag([0.75, 0.75, 8, 1]) if correct and folder == "C0" else affine
            for ending in ("", "_manual"):
                nifti(np.full(SHAPE, 200), spacing, owner / folder / f"patient{i}_{folder}{ending}.nii.gz")
    pair = Path(run(owner, "mscmr-varda"))
    spacings = {tuple(nibabel.load(p).header.get_zooms()) for p in pair.parent.glob("Dataset501*/*/*.nii.gz")}
    assert spacings == {(0.75, 0.75, 8.0)}
    cases = json.loads((pair / "provenance.json").read_text())["cases"]["Dataset501_MSCMR_bSSFP"]
    assert "repaired" in cases["patient1"] and "repaired" not in cases["patient2"]


def test_axes_that_are_not_at_right_angles(tmp_path):
    affine = np.diag([-2.0, -2.0, 5.0, 1.0])
    affine[2, 0] = 0.02
    affine[:3, 3] = 7, -3, 2
    array = np.arange(np.prod(SHAPE) * 2, dtype=np.int16).reshape(*SHAPE, 2)
    image = nibabel.Nifti1Image(array, affine)
    image.set_qform(None, 0)
    nibabel.save(image, tmp_path / "skewed.nii.gz")
    with pytest.raises(RuntimeError):
        sitk.ReadImage(str(tmp_path / "skewed.nii.gz"))
    read = read_image([str(tmp_path / "skewed.nii.gz")], frame=1)
    assert (sitk.GetArrayFromImage(read).T == array[..., 1]).all()
    for index in ((0, 0, 0), (5, 7, 3)):
        there = np.array(read.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
        assert np.abs(there - (affine @ (*index, 1))[:3]).max() < 0.2


@pytest.mark.parametrize("name", ["mr_train/mr_train_1001_image.nii.gz", "mr_train/mr_train_1001_label.nii.gz"])
def test_a_damaged_file_is_named(name, owner):
    owner_files.mmwhs(owner)
    path = owner / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ImageError, match=f"{name}: expected an image; it cannot be read. Copy it again"):
        run(owner)
    assert nothing_left(owner)


def test_a_missing_slice_is_noticed(tmp_path):
    names = [f"{i}.dcm" for i in range(4)]
    owner_files.dicom(np.zeros(SHAPE), LPS, tmp_path / "series", names)
    paths = [str(tmp_path / "series" / name) for name in names]
    assert sort_slices(paths[::-1]) == (paths, pytest.approx(3))
    with pytest.raises(ImageError, match=r"the 3 files lie 3.00 to 6.00 mm apart"):
        sort_slices([paths[0], paths[1], paths[3]])


def test_map_values_against_a_loop():
    label = np.array([[0, 60, 63], [126, 255, 0]])
    values = {0: 0, (55, 70): 1, (110, 135): 2, (240, 255): 4}
    expected = [[0, 1, 1], [2, 4, 0]]
    assert map_values(label, values, "x").tolist() == expected and map_values(label, values, "x").dtype == np.uint8
    with pytest.raises(ImageError, match="got also 0.5"):
        map_values(np.array([0.5, 60]), values, "x")


def test_the_command(owner, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--list"])
    printed = capsys.readouterr().out
    assert ended.value.code == 0 and all(name in printed for name in COLLECTIONS)
    assert max(map(len, printed.splitlines())) <= 80
    for name in COLLECTIONS:
        with pytest.raises(SystemExit):
            main(["--about", name])
        printed = capsys.readouterr().out
        assert COLLECTIONS[name].title in printed and "licence: " in printed and "cite: " in printed
        assert max(map(len, printed.splitlines())) <= 100
    with pytest.raises(SystemExit, match="Error: .*expected for the domain"):
        main(["mmwhs", str(owner), str(owner.parent / "raw")])
    with pytest.raises(SystemExit):
        main(["mmwhs", str(owner), str(owner.parent / "raw"), "-d", "1000"])
    assert "argument -d: expected a whole number from 1 to 99" in capsys.readouterr().err
    owner_files.mmwhs(owner)
    main(["mmwhs", str(owner), str(owner.parent / "raw")])
    printed = capsys.readouterr().out
    assert "Source Dataset501_MMWHS_MR: 2 cases and 1 held out, 3 with labels" in printed
    assert "nnUDA_plan_and_preprocess -d 501 -t 502" in printed


def test_help_and_list_import_nothing_heavy():
    code = "import sys; from nnuda.cli.convert import build_parser, table; build_parser().format_help(); table(); "
    code += "print({'torch', 'SimpleITK', 'nnunetv2'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
