"""Image and label files: the one gate through which nnU-Net's readers get them.

ITK reads a NIfTI file that was cut off to its end, with zeros for what is missing, turns NaN and infinity into zeros and
a spacing of 0 into 1 mm. What it hides is looked for here, in the file itself.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

from nnuda.errors import DatasetError, NnudaError
from nnuda.files import read_json

if TYPE_CHECKING:
    import numpy as np
    from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

_CHUNK = 2**22  # bytes read at once; a multiple of each voxel's size
_GZIP = b"\x1f\x8b"
_FLOATS = {16: "f4", 64: "f8"}  # NIfTI's codes of voxel types that can hold NaN and infinity
_SEVERAL = {32: "complex64", 1792: "complex128", 2048: "complex256", 128: "RGB24", 2304: "RGBA32"}  # numbers a voxel
_OF_ITK = (".nrrd", ".mha", ".gipl")  # besides NIfTI, what nnU-Net reads with SimpleITK
_THREE = {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}
_SPACING = {"type": "object", "required": ["spacing"], "properties": {"spacing": _THREE}}
LARGEST_VALUE = 1e15
AGAIN = "Copy or export the file again, or take the case out."


@dataclass(frozen=True)
class NiftiHeader:
    """What a NIfTI header says: byte order (< or >), voxel type's code, shape, spacing (mm, file order), where the
    voxels begin and where they end (bytes)."""

    order: str
    datatype: int
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    begin: int
    end: int


# ---- reading --------------------------------------------------------------------------------------------------------


def read_case(
    reader_class: type[BaseReaderWriter], files: Sequence[str], notes: list[str] | None = None
) -> tuple[np.ndarray, dict]:
    """Read one case's channels.

    Args:
        reader_class: nnU-Net's reader.
        files: one a channel, or one that holds them all.
        notes: takes what the reader says about files that it did read.

    Returns:
        images (channels, *S) and nnU-Net's properties (spacing in mm, array order).

    Raises:
        DatasetError: a file is not there, cut off or no image, or the channels do not lie on one grid.
    """
    return _read(reader_class().read_images, list(files), notes)


def read_label(
    reader_class: type[BaseReaderWriter], file: str, notes: list[str] | None = None
) -> tuple[np.ndarray, dict]:
    """Read a label file; as `read_case`. For the source only.

    Returns:
        labels (1, *S) and nnU-Net's properties.
    """
    return _read(lambda files: reader_class().read_seg(files[0]), [file], notes)


def _read(read: Callable, files: list[str], notes: list[str] | None) -> tuple[np.ndarray, dict]:
    for file in files:
        check_whole(file)
    for file in companions(files)[len(files) :]:
        read_json(
            file, "the spacing of the TIFF beside it", _SPACING, "Write it anew, or remove it: 1 mm is then assumed."
        )
    said = io.StringIO()
    try:
        with redirect_stdout(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array, properties = read(files)
    except MemoryError as error:
        raise MemoryError(f"{files[0]}: {error}") from error
    except Exception as error:  # a reader's library may raise anything over a file that it does not like
        raise _unreadable(read, files, said.getvalue(), error) from error
    if notes is not None:
        different = re.findall(r"WARNING! Not all input images have the same (\w+)", said.getvalue())
        notes += [f"{files[0]}: the channels of the case have not the same {what}" for what in different]
        if "no spacing file" in said.getvalue():
            notes.append(f"{files[0]}: no spacing file beside it; 1 mm is assumed")
    return array, properties


def _unreadable(read: Callable, files: list[str], said: str, error: Exception) -> NnudaError:
    different = re.search(r"ERROR! Not all input images have the same (\w+)!\n.*\n(.*)", said)
    if different:
        return DatasetError(
            f"{files[0]}: expected channels of one {different[1]}, got {different[2]} in "
            f"{', '.join(map(os.path.basename, files))}. Resample or export the case again."
        )
    for file in files if len(files) > 1 else []:
        try:
            _read(read, [file], None)
        except DatasetError as alone:
            return alone
    reason = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
    return DatasetError(f"{files[0]}: expected an image that nnU-Net can read; {reason[:300]}. {AGAIN}")


# ---- whole files ----------------------------------------------------------------------------------------------------


def check_whole(file: str) -> None:
    """A file that is there, was not cut off, and holds one number a voxel, as far as its first and last bytes tell.

    Raises:
        DatasetError: says what is wrong with it.
    """
    complaint = whole_complaint(file)
    if complaint:
        raise DatasetError(f"{file}: expected an image file; {complaint}. {AGAIN}")


def whole_complaint(file: str) -> str:
    """The same, as what came instead of a whole file; empty where it is one."""
    if os.path.isdir(file):
        return "a folder"
    if not os.path.exists(file):
        return f"a link to {os.path.realpath(file)}, which is not there" if os.path.islink(file) else "no file"
    if os.path.getsize(file) == 0:
        return "an empty file (0 bytes)"
    if not is_nifti(file):
        return _several(_voxels_of_itk(file)) if file.lower().endswith(_OF_ITK) else ""
    try:
        header = _parse_header(file)
        size = _content_size(file, header.end)
    except (EOFError, OSError, ValueError, zlib.error) as error:
        return str(error) if isinstance(error, ValueError) else f"cut off or damaged: {error}"
    if size < header.end:
        return f"cut off: its header announces {header.end} bytes, {size} are there"
    count = math.prod(header.shape[4:])  # the fifth axis counts the numbers of a voxel
    return _several(_SEVERAL.get(header.datatype, f"vector of {count}" if count > 1 else ""))


def _several(voxels: str) -> str:
    """Of complex numbers nnU-Net would drop the imaginary part, of vectors take an axis of space for channels."""
    return f"its voxels hold more than one number each ({voxels})" if voxels else ""


def _voxels_of_itk(file: str) -> str:
    """ITK's name of voxels that hold more than one number; empty where they do not, or ITK cannot tell."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    try:
        reader.ReadImageInformation()
    except RuntimeError:  # what is said when it is read
        return ""
    name = sitk.GetPixelIDValueAsString(reader.GetPixelIDValue())
    return name if name.startswith(("complex", "vector")) or reader.GetNumberOfComponents() > 1 else ""


def is_nifti(file: str) -> bool:
    return file.lower().endswith((".nii", ".nii.gz"))


def _open(file: str) -> io.BufferedIOBase:
    with open(file, "rb") as raw:
        packed = raw.read(2) == _GZIP
    return gzip.open(file, "rb") if packed else open(file, "rb")


def _content_size(file: str, expected: int) -> int:
    """Bytes of the content. gzip stores it at the end, which is right in a whole file of one stream; else it is
    counted."""
    with open(file, "rb") as raw:
        if raw.read(2) != _GZIP:
            return os.path.getsize(file)
        raw.seek(-min(4, os.path.getsize(file)), os.SEEK_END)
        if raw.read(4) == struct.pack("<I", expected % 2**32):
            return expected
    stat = os.stat(file)
    return _counted(file, expected, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=10_000)  # a good file of several streams is asked about more than once
def _counted(file: str, expected: int, size_packed: int, modified: int) -> int:
    size = 0
    try:
        with gzip.open(file, "rb") as stream:
            while block := stream.read(_CHUNK):
                size += len(block)
    except (EOFError, OSError, zlib.error):
        if size < expected:
            raise
    return size


def nifti_header(file: str) -> NiftiHeader:
    """Read the header of a NIfTI file (.nii, .nii.gz; versions 1 and 2).

    Raises:
        DatasetError: it is none.
    """
    try:
        return _parse_header(file)
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise DatasetError(f"{file}: expected a NIfTI image; {error}. {AGAIN}") from error


def _parse_header(file: str) -> NiftiHeader:
    with _open(file) as stream:
        raw = stream.read(540)
    for order in "<>":
        size = struct.unpack_from(f"{order}i", raw)[0] if len(raw) >= 348 else 0
        if size == 348:
            shape, spacing = struct.unpack_from(f"{order}8h", raw, 40), struct.unpack_from(f"{order}8f", raw, 76)
            datatype, bits = struct.unpack_from(f"{order}2h", raw, 70)
            begin = struct.unpack_from(f"{order}f", raw, 108)[0]
            scale, codes = struct.unpack_from(f"{order}2f", raw, 112), struct.unpack_from(f"{order}2h", raw, 252)
            quaternion, matrix = (
                struct.unpack_from(f"{order}6f", raw, 256),
                struct.unpack_from(f"{order}12f", raw, 280),
            )
        elif size == 540 and len(raw) >= 540:
            shape, spacing = struct.unpack_from(f"{order}8q", raw, 16), struct.unpack_from(f"{order}8d", raw, 104)
            datatype, bits = struct.unpack_from(f"{order}2h", raw, 12)
            begin = struct.unpack_from(f"{order}q", raw, 168)[0]
            scale, codes = struct.unpack_from(f"{order}2d", raw, 176), struct.unpack_from(f"{order}2i", raw, 344)
            quaternion, matrix = (
                struct.unpack_from(f"{order}6d", raw, 352),
                struct.unpack_from(f"{order}12d", raw, 400),
            )
        else:
            continue
        for name, used, numbers in (("qform", codes[0], quaternion), ("sform", codes[1], matrix)):
            if used > 0 and not all(map(math.isfinite, numbers)):
                raise ValueError(f"NaN or infinity in the header's {name}, which says where the image lies")
        if any(map(math.isinf, scale)):  # NaN, as nibabel writes it, is none
            raise ValueError("infinity in the header's scl_slope or scl_inter, by which values are scaled")
        axes = range(1, 1 + min(max(shape[0], 1), 7))
        voxels = math.prod(max(shape[i], 1) for i in axes)
        begin = int(begin) if math.isfinite(begin) and begin >= 0 else 0
        return NiftiHeader(
            order,
            datatype,
            tuple(shape[i] for i in axes),
            tuple(spacing[i] for i in axes),
            begin,
            begin + voxels * bits // 8,
        )
    raise ValueError("no NIfTI image: another kind of file, or a damaged one")


# ---- what a reader hides --------------------------------------------------------------------------------------------


def image_complaint(files: Sequence[str], images: np.ndarray, properties: dict) -> str:
    """What is wrong with a case's spacing or values; empty where nothing is.

    Args:
        files: one a channel, or one that holds them all.
        images, properties: from `read_case`.
    """
    complaint = spacing_complaint(files[0], properties["spacing"])
    for c, channel in enumerate(images):
        file = files[min(c, len(files) - 1)]
        low, high = float(channel.min()), float(channel.max())
        complaint = complaint or values_complaint(file, channel, low, high)
        if not complaint and max(-low, high) > LARGEST_VALUE:
            complaint = (
                f"{file}: expected intensities up to {LARGEST_VALUE:g}, whose squares can be added up; got {low:g} to "
                f"{high:g}. Rescale the image, or replace the values that are none."
            )
    return complaint


def spacing_complaint(file: str, spacing: Sequence[float]) -> str:
    """What is wrong with a spacing, as read and as the header has it; empty where nothing is.

    Args:
        file: the image.
        spacing: as the reader gave it, mm.
    """
    if not all(math.isfinite(s) and s > 0 for s in spacing):
        return _spacing(file, spacing)
    if is_nifti(file):
        header = nifti_header(file)
        raw = [s for s, n in zip(header.spacing[:3], header.shape[:3]) if n > 1]
        if not all(math.isfinite(s) and s != 0 for s in raw):
            return _spacing(file, header.spacing[:3])
    return ""


def _spacing(file: str, spacing: Sequence[float]) -> str:
    return (
        f"{file}: expected a spacing above 0 along each axis, got {' x '.join(f'{s:g}' for s in spacing)} mm in the "
        "header. Set the spacing that the scanner had."
    )


def values_complaint(file: str, values: np.ndarray, low: float, high: float) -> str:
    """Whether a file holds NaN or infinity, also where the reader made zeros of them; empty where it does not.

    Args:
        file: image or label.
        values: as the reader gave them.
        low: their minimum.
        high: their maximum.
    """
    found = [low, high]
    if all(map(math.isfinite, found)):
        if not is_nifti(file) or not (values == 0).any():
            return ""
        found = [hidden_value(file)]
    if all(map(math.isfinite, found)):
        return ""
    kind = "NaN" if any(map(math.isnan, found)) else "infinity"
    return f"{file}: {kind} in the image. Replace it with a value that makes sense in this modality."


def hidden_value(file: str) -> float:
    """A voxel of a NIfTI file itself that is NaN or infinite, where there is one; else 0."""
    import numpy as np

    header = nifti_header(file)
    if header.datatype not in _FLOATS:
        return 0.0
    voxel = np.dtype(header.order + _FLOATS[header.datatype])
    with _open(file) as stream:
        stream.read(header.begin)
        left = header.end - header.begin
        while left > 0 and (block := stream.read(min(_CHUNK, left))):
            left -= len(block)
            voxels = np.frombuffer(block[: len(block) // voxel.itemsize * voxel.itemsize], voxel)
            bad = voxels[~np.isfinite(voxels)]
            if bad.size:
                return float(bad[0])
    return 0.0


# ---- identity -------------------------------------------------------------------------------------------------------


def companions(files: Sequence[str]) -> list[str]:
    """The files, and those that nnU-Net reads with them: a TIFF's spacing."""
    beside = [re.sub(r"(_\d{4})?\.tiff?$", ".json", file) for file in files]
    return [*files, *dict.fromkeys(path for path in beside if path not in files and os.path.isfile(path))]


def digest(files: Sequence[str]) -> str:
    """Hash of the files' contents."""
    total = blake2b(digest_size=16)
    for file in companions(files):
        one = blake2b(digest_size=16)
        with open(file, "rb") as stream:
            while block := stream.read(_CHUNK):
                one.update(block)
        total.update(one.digest())
    return total.hexdigest()


def stamp(files: Sequence[str]) -> list[list]:
    """Name, bytes and times of each file: as long as they stay, its content has not changed."""
    stats = [(os.path.basename(file), os.stat(file)) for file in companions(files)]
    return [[name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for name, stat in stats]
