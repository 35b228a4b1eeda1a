from __future__ import annotations

import gzip
import os
import struct

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO

from nnuda.errors import DatasetError, NnudaError
from nnuda.images import (
    check_whole,
    digest,
    image_complaint,
    nifti_header,
    read_case,
    spacing_complaint,
    stamp,
    values_complaint,
)

RNG = np.random.default_rng(0)


def write(file, array=None, spacing=(1.0, 2.0, 3.0)):
    image = sitk.GetImageFromArray(RNG.normal(0, 1, (5, 6, 7)).astype(np.float32) if array is None else array)
    image.SetSpacing(spacing[: image.GetDimension()])
    sitk.WriteImage(image, str(file), True)
    return file


def cut(file, share=0.8):
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])


def broken(folder, kind):
    """A file of each kind of damage."""
    file = folder / "t00_0000.nii.gz"
    if kind == "folder":
        file.mkdir()
    elif kind == "dangling":
        file.symlink_to("/nowhere/x.nii.gz")
    elif kind == "empty":
        file.touch()
    elif kind == "no image":
        file.write_bytes(gzip.compress(b"hello world" * 100))
    elif kind == "no gzip":
        file.write_bytes(b"hello world" * 100)
    elif kind.startswith("cut"):
        write(file, RNG.integers(0, 999, (8, 32, 32)).astype(np.int16))
        cut(file, float(kind.split()[1]))
    elif kind == "cut content":  # a whole gzip stream of half an image
        content = gzip.decompress(write(file).read_bytes())
        file.write_bytes(gzip.compress(content[: len(content) // 2]))
    elif kind == "uncompressed":
        file = folder / "t00_0000.nii"
        cut(write(file))
    elif kind == "claims too much":
        content = bytearray(gzip.decompress(write(file).read_bytes())[:400])
        for i in range(3):
            struct.pack_into("<h", content, 42 + 2 * i, 30000)
        file.write_bytes(gzip.compress(bytes(content)))
    elif kind.startswith("header"):  # version 1 and 2: where code, qform, sform and slope lie
        _, version, field = kind.split()
        image = (nibabel.Nifti1Image if version == "1" else nibabel.Nifti2Image)(
            np.zeros((4, 5, 6), np.int16), np.eye(4)
        )
        image.header.set_qform(np.eye(4), 1)
        nibabel.save(image, file)
        content = bytearray(gzip.decompress(file.read_bytes()))
        header = (nibabel.Nifti1Header if version == "1" else nibabel.Nifti2Header)(
            bytes(content[: 348 if version == "1" else 540])
        )
        header[field] = np.inf if field == "scl_slope" else np.nan
        content[: len(header.binaryblock)] = header.binaryblock
        file.write_bytes(gzip.compress(bytes(content)))
    elif kind.startswith("voxels"):
        _, voxels, ending = kind.split()
        file = folder / f"t00_0000{ending}"
        array = RNG.integers(0, 99, (5, 6, 7, 2)).astype(np.uint8)
        if voxels == "vector":
            sitk.WriteImage(sitk.GetImageFromArray(array, isVector=True), str(file))
        elif voxels == "complex":
            write(file, array[..., 0].astype(np.complex64))
        else:
            colours = np.dtype([(name, np.uint8) for name in voxels])
            nibabel.save(nibabel.Nifti1Image(np.zeros((5, 6, 7), colours), np.eye(4)), file)
    elif kind == "nrrd":
        file = folder / "t00_0000.nrrd"
        cut(write(file))
    return file


@pytest.mark.parametrize(
    "kind, message",
    [
        ("missing", "expected an image file; no file"),
        ("folder", "expected an image file; a folder"),
        ("dangling", "a link to /nowhere/x.nii.gz, which is not there"),
        ("empty", "0 bytes"),
        ("no image", "expected an image file; no NIfTI image"),
        ("no gzip", "expected an image file; no NIfTI image"),
        ("cut 0.5", "cut off or damaged"),
        ("cut 0.99", "cut off or damaged"),
        ("cut 0.002", "damaged"),
        ("uncompressed", "cut off: its header announces"),
        ("claims too much", "cut off: its header announces 108000000000352 bytes, 400 are there"),
        ("nrrd", "expected an image that nnU-Net can read"),
        ("voxels complex .nii.gz", r"expected an image file; its voxels hold more than one number each \(complex64\)"),
        ("voxels complex .nrrd", r"its voxels hold more than one number each \(complex of 32-bit float\)"),
        ("voxels vector .nii.gz", r"its voxels hold more than one number each \(vector of 2\)"),
        ("voxels vector .mha", r"its voxels hold more than one number each \(vector of 8-bit unsigned integer\)"),
        ("voxels RGB .nii.gz", r"its voxels hold more than one number each \(RGB24\)"),
        ("voxels RGBA .nii.gz", r"its voxels hold more than one number each \(RGBA32\)"),
        *((f"header {v} qoffset_x", "NaN or infinity in the header's qform") for v in (1, 2)),
        *((f"header {v} quatern_c", "NaN or infinity in the header's qform") for v in (1, 2)),
        *((f"header {v} srow_x", "NaN or infinity in the header's sform") for v in (1, 2)),
        *((f"header {v} srow_z", "NaN or infinity in the header's sform") for v in (1, 2)),
        *((f"header {v} scl_slope", "infinity in the header's scl_slope") for v in (1, 2)),
    ],
)
def test_files_that_are_refused(tmp_path, kind, message):
    file = broken(tmp_path, kind)
    with pytest.raises(DatasetError, match=message) as caught:
        read_case(SimpleITKIO, [str(file)])
    assert str(caught.value).startswith(str(file)) and "\n" not in str(caught.value)


def test_itk_itself_reads_a_cut_file_to_its_end(tmp_path):
    """The reason for all this: half the image is zeros, and nobody says so."""
    file = broken(tmp_path, "cut 0.5")
    assert (SimpleITKIO().read_images([str(file)])[0] == 0).mean() > 0.3


@pytest.mark.parametrize("name, reader", [("a.nii.gz", SimpleITKIO), ("a.nii.gz", NibabelIO), ("a.nii", NibabelIO)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_whole_files_are_read_as_nnunet_reads_them(tmp_path, name, reader, dtype):
    file = str(write(tmp_path / name, RNG.integers(0, 99, (4, 5, 6)).astype(dtype)))
    images, properties = read_case(reader, [file])
    expected, expected_properties = reader().read_images([file])
    assert np.array_equal(images, expected) and str(properties) == str(expected_properties)
    header = nifti_header(file)
    assert header.shape == (6, 5, 4) and header.spacing == (1, 2, 3)
    assert header.end == 352 + expected.size * np.dtype(dtype).itemsize


def test_other_forms_of_nifti(tmp_path):
    """Several gzip streams in a file, no compression under .nii.gz, version 2, big-endian, 2D."""
    plain = gzip.decompress(write(tmp_path / "a.nii.gz").read_bytes())
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(plain[:300]) + gzip.compress(plain[300:]) + gzip.compress(b""))
    (tmp_path / "c.nii.gz").write_bytes(plain)
    array = np.arange(24, dtype=">i2").reshape(2, 3, 4)
    nibabel.save(nibabel.Nifti2Image(array.astype("<i2"), np.eye(4)), tmp_path / "d.nii.gz")
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4), nibabel.Nifti1Header(endianness=">")), tmp_path / "e.nii.gz")
    write(tmp_path / "f.nii.gz", np.zeros((5, 6), np.uint8))
    for name in "abcdef":
        check_whole(str(tmp_path / f"{name}.nii.gz"))
    assert nifti_header(str(tmp_path / "d.nii.gz")).shape == nifti_header(str(tmp_path / "e.nii.gz")).shape == (2, 3, 4)


def test_channels_of_different_grids(tmp_path):
    one, other = write(tmp_path / "a_0000.nii.gz"), write(tmp_path / "a_0001.nii.gz", np.zeros((5, 6, 8), np.float32))
    with pytest.raises(DatasetError, match="a_0000.nii.gz: expected channels of one shape.*in a_0000.nii.gz, a_0001"):
        read_case(SimpleITKIO, [str(one), str(other)])
    write(other, spacing=(1, 2, 4))
    with pytest.raises(DatasetError, match="expected channels of one spacing, got .*4.0"):
        read_case(SimpleITKIO, [str(one), str(other)])
    other.unlink()
    cut(write(tmp_path / "a_0001.nrrd"))
    with pytest.raises(DatasetError, match="a_0001.nrrd: expected an image that nnU-Net can read"):
        read_case(SimpleITKIO, [str(one), str(tmp_path / "a_0001.nrrd")])


def test_what_a_reader_remarks_is_kept(tmp_path, capsys):
    files = [str(write(tmp_path / f"a_{i:04d}.nii.gz")) for i in range(2)]
    image = sitk.ReadImage(files[1])
    image.SetOrigin((9, 9, 9))
    sitk.WriteImage(image, files[1])
    notes: list[str] = []
    read_case(SimpleITKIO, files, notes)
    assert len(notes) == 1 and notes[0].startswith(files[0]) and "the same origin" in notes[0]
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 9, 9), np.uint8)), str(tmp_path / "b_0000.tif"))
    read_case(Tiff3DIO, [str(tmp_path / "b_0000.tif")], notes)
    assert "no spacing file" in notes[1] and capsys.readouterr().out == ""


def test_other_formats(tmp_path):
    file = tmp_path / "a_0000.png"
    file.write_bytes(b"no picture")
    with pytest.raises(DatasetError, match="a_0000.png: expected an image that nnU-Net can read"):
        read_case(NaturalImage2DIO, [str(file)])


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("value, name", [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_values_that_are_no_numbers(tmp_path, ending, value, name):
    """ITK's NIfTI reader makes zeros of them: the file itself is looked at."""
    array = RNG.normal(50, 5, (5, 6, 7)).astype(np.float32)
    array[2, 3, 4] = value
    file, reader = str(write(tmp_path / f"a{ending}", array)), NibabelIO if ending == ".nii" else SimpleITKIO
    images, _ = read_case(reader, [file])
    complaint = values_complaint(file, images[0], float(images.min()), float(images.max()))
    assert complaint.startswith(f"{file}: {name} in the image")
    array[2, 3, 4] = 0
    write(file, array)
    images, _ = read_case(reader, [file])
    assert not values_complaint(file, images[0], float(images.min()), float(images.max()))


@pytest.mark.parametrize("values, wrong", [((0, 1, 4), True), ((float("nan"), 1, 4), True), ((-1, 1, 4), False)])
def test_spacings_that_itk_puts_right_in_silence(tmp_path, values, wrong):
    file = write(tmp_path / "a.nii.gz")
    content = bytearray(gzip.decompress(file.read_bytes()))
    struct.pack_into("<3f", content, 80, *values)
    struct.pack_into("<2h", content, 252, 0, 0)
    file.write_bytes(gzip.compress(bytes(content)))
    _, properties = read_case(SimpleITKIO, [str(file)])
    complaint = spacing_complaint(str(file), properties["spacing"])
    assert ("expected a spacing above 0" in complaint and str(file) in complaint) == wrong
    assert spacing_complaint(str(file), [1, float("nan"), 1])


def test_an_axis_of_one_voxel_needs_no_spacing(tmp_path):
    file = write(tmp_path / "a.nii.gz", np.zeros((1, 6, 7), np.uint8))
    content = bytearray(gzip.decompress(file.read_bytes()))
    struct.pack_into("<f", content, 88, 0.0)
    file.write_bytes(gzip.compress(bytes(content)))
    assert not spacing_complaint(str(file), [1, 1, 1])


def test_a_digest_is_of_the_content_and_a_stamp_tells_a_change(tmp_path):
    file, times = write(tmp_path / "a_0000.nii.gz"), (10**9, 10**9)
    os.utime(file, ns=times)
    before = digest([str(file)]), stamp([str(file)])
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(bytes(content))
    os.utime(file, ns=times)  # same bytes, same time of modification
    assert digest([str(file)]) != before[0] and stamp([str(file)]) != before[1]
    (tmp_path / "b_0000.nii.gz").write_bytes(bytes(content))
    assert digest([str(file)]) == digest([str(tmp_path / "b_0000.nii.gz")])
    pair = [str(file), str(tmp_path / "b_0000.nii.gz")]
    assert digest(pair) == digest(pair[::-1]) != digest(pair[:1])


def test_values_whose_squares_cannot_be_added_up(tmp_path):
    file = write(tmp_path / "a.nii.gz", np.full((3, 4, 5), -1e36, np.float32))
    images, properties = read_case(SimpleITKIO, [str(file)])
    assert "a.nii.gz: expected intensities up to 1e+15" in image_complaint([str(file)], images, properties)
    assert image_complaint([str(file)], images / 1e25, properties) == ""


@pytest.mark.parametrize("content", ["{", "[1, 1, 1]", "{}", '{"spacing": ["a", 1, 1]}', '{"spacing": [1, NaN, 1]}'])
def test_a_tiffs_spacing_file_is_blamed_itself(tmp_path, content):
    write(tmp_path / "a_0000.tif")
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(NnudaError, match="a.json: expected the spacing of the TIFF beside it"):
        read_case(Tiff3DIO, [str(tmp_path / "a_0000.tif")])


def test_the_spacing_file_of_a_tiff_is_part_of_it(tmp_path):
    file = tmp_path / "a_0000.tif"
    file.write_bytes(b"x")
    before = digest([str(file)])
    (tmp_path / "a.json").write_text('{"spacing": [1, 1, 1]}')
    assert digest([str(file)]) != before and len(stamp([str(file)])) == 2
