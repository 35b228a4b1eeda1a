"""dataset.json, checked as a whole before anything else is read."""

from __future__ import annotations

from itertools import chain
from typing import Any

from nnuda.errors import DatasetError, harmless
from nnuda.files import FileError, read_json, schema_complaint

_CHANNELS = {
    "type": "object",
    "minProperties": 1,
    "propertyNames": {"pattern": r"^[0-9]+\Z"},
    "additionalProperties": {"type": "string", "minLength": 1},
}
_LABEL = {"type": "integer", "minimum": 0}
_LABEL_OR_REGION = {"type": ["integer", "array"], "minimum": 0, "minItems": 1, "items": _LABEL}
_CASE = {
    "type": "object",
    "required": ["images"],
    "properties": {
        "images": {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}},
        "label": {"type": "string", "minLength": 1},
    },
}
SCHEMA = {
    "type": "object",
    "required": ["file_ending"],
    "properties": {
        "channel_names": _CHANNELS,
        "modality": _CHANNELS,
        "file_ending": {"type": "string", "minLength": 1},
        "labels": {
            "type": "object",
            "propertyNames": {"minLength": 1},
            "additionalProperties": _LABEL_OR_REGION,
        },
        "regions_class_order": {"type": ["array", "null"], "items": _LABEL},
        "overwrite_image_reader_writer": {"type": "string"},
        "dataset": {"type": "object", "minProperties": 1, "additionalProperties": _CASE},
    },
}
REMEDY = "Mend the file (documentation/dataset_format.md of nnU-Net has its form)."
V1_LABELS = (
    'labels are written the wrong way round ({"0": "background"}, as nnU-Net v1 had them): write {"background": 0, ...}'
)


def read_dataset_json(path: str, labelled: bool) -> dict:
    """Read a dataset.json and check all that nnU-Net and nnuda rely on.

    Args:
        path: of the file.
        labelled: of the source: the rules of its labels are checked as well. A target's may be left out.

    Raises:
        FileError: no JSON, or entries that are missing or of another type.
        DatasetError: entries that cannot be.
    """
    content = read_json(path, "a dataset.json of nnU-Net's", remedy=REMEDY)
    check_form(content, path)
    complaint = _reader(content) or _cases(path, content, labelled) or (labelled and source_complaint(content))
    if complaint:
        raise DatasetError(f"{path}: {complaint}. {REMEDY}")
    return content


def check_form(content: Any, path: str) -> None:
    """Stop where the content of a dataset.json is none.

    Args:
        content: of the file.
        path: of the file, for the message.

    Raises:
        FileError: entries that are missing or of another type.
        DatasetError: channels that cannot be.
    """
    wrong = schema_complaint(content, {"type": "object"})
    complaint = "" if wrong else _inverted(content.get("labels")) or _channels(content)
    if complaint:
        raise DatasetError(f"{path}: {complaint}. {REMEDY}")
    wrong = wrong or schema_complaint(content, SCHEMA)
    if wrong:
        raise FileError(f"{path}: expected a dataset.json of nnU-Net's; got {wrong}. {REMEDY}")


def check_to_learn_from(content: Any, path: str) -> None:
    """Stop where a source's dataset.json, which somebody else has read, is none to train by.

    Args:
        content: of the file.
        path: of the file, for the message.

    Raises:
        FileError, DatasetError: as `check_form`; also for labels that cannot be.
    """
    check_form(content, path)
    complaint = labels_complaint(content)
    if complaint:
        raise DatasetError(f"{path}: {complaint}. {REMEDY}")


def check_case_name(name: str, where: str) -> None:
    """Names of cases become names of files.

    Raises:
        DatasetError: one that would lead elsewhere, or that nnU-Net would pass over.
    """
    if name in ("", ".", "..") or any(c in name for c in "/\\") or not name.isprintable():
        raise DatasetError(
            f"{where}: the case {harmless(name)!r} cannot be a file's name: expected no / or \\, and no control "
            "characters. Rename it."
        )
    if name.startswith(".") or name.endswith("_seg"):
        raise DatasetError(
            f"{where}: nnU-Net passes over the case {name!r}, because its name "
            f"{'begins with a dot' if name.startswith('.') else 'ends with _seg'}. Rename it."
        )


def _inverted(labels: object) -> str:
    if not isinstance(labels, dict) or not labels:
        return ""
    return V1_LABELS if all(k.isdigit() and isinstance(v, str) for k, v in labels.items()) else ""


def _channels(content: dict) -> str:
    key = "channel_names" if "channel_names" in content else "modality"
    if key not in content:
        return 'expected "channel_names", such as {"0": "MR"}; it is missing'
    names = content[key]
    if not isinstance(names, dict):
        return f'{key}: expected an object, such as {{"0": "MR"}}; got {names!r}'
    if list(names) != [str(i) for i in range(len(names))]:
        return f'{key}: expected the channels "0", "1", ... in order; got {list(names)}'
    if len(content.get("modality", names)) != len(names):
        return (
            f'"modality" and "channel_names" name different channels: {content["modality"]}, {names}; remove "modality"'
        )
    return ""


def _reader(content: dict) -> str:
    from nnunetv2.imageio.reader_writer_registry import LIST_OF_IO_CLASSES, recursive_find_reader_writer_by_name

    name = content.get("overwrite_image_reader_writer", "None")
    if name != "None":
        try:
            recursive_find_reader_writer_by_name(name)
        except RuntimeError:
            known = ", ".join(reader.__name__ for reader in LIST_OF_IO_CLASSES)
            return (
                f"overwrite_image_reader_writer: nnU-Net has no reader {name!r}; expected one of {known}, or no entry"
            )
        return ""
    endings = sorted(set(chain(*(reader.supported_file_endings for reader in LIST_OF_IO_CLASSES))))
    if content["file_ending"].lower() not in endings:
        return f"file_ending: nnU-Net reads {', '.join(endings)}; got {content['file_ending']!r}"
    return ""


def _cases(path: str, content: dict, labelled: bool) -> str:
    for case, entry in content.get("dataset", {}).items():
        check_case_name(case, f'{path}, "dataset"')
        if labelled and "label" not in entry:
            return f"dataset: expected a label file of the case {case!r}"
    return ""


def source_complaint(content: dict) -> str:
    """What is wrong with the entries that a labelled dataset alone needs; empty where nothing is."""
    cases = content.get("numTraining")
    if type(cases) is not int or cases < 1:
        return f"numTraining: expected the number of training cases, by which nnU-Net sizes batches; got {cases!r}"
    return labels_complaint(content)


def labels_complaint(content: dict) -> str:
    """What is wrong with the labels of a dataset.json that has the form of one; empty where nothing is."""
    labels = content.get("labels")
    if not labels:
        return 'expected "labels", such as {"background": 0, "heart": 1}; there are none'
    values = {name: value if isinstance(value, list) else [value] for name, value in labels.items()}
    if labels.get("background") != 0:
        return f'labels: expected "background": 0, got {labels.get("background", "no background")}'
    foreground = {name: set(value) for name, value in values.items() if name not in ("background", "ignore")}
    if not foreground:
        return "labels: expected a class besides the background, got none"
    return _values_complaint(labels, foreground) or _regions_complaint(content, foreground)


def _values_complaint(labels: dict, foreground: dict[str, set[int]]) -> str:
    ignore = labels.get("ignore")
    if ignore is not None and not isinstance(ignore, int):
        return f'labels: "ignore" has to be one number, got {ignore}'
    seen: dict[frozenset, str] = {frozenset({0}): "background"}
    for name, value in [*foreground.items(), *([("ignore", {ignore})] if ignore is not None else [])]:
        other = seen.setdefault(frozenset(value), name)
        if other != name:
            return f"labels: {other!r} and {name!r} have one value, {sorted(value)}; each class needs its own"
    used = {0}.union(*foreground.values())
    if ignore is not None and ignore <= max(used):
        return f'labels: "ignore" has to be the highest value; got {ignore} among {sorted({*used, ignore})}'
    if used != set(range(len(used))):
        missing = sorted(set(range(len(used))) - used)
        return f"labels: expected consecutive values from 0, but {missing[:5]} are missing among {sorted(used)}"
    if ignore is not None and ignore != len(used):
        return f'labels: "ignore" has to be the highest value, {len(used)}; got {ignore}'
    return ""


def _regions_complaint(content: dict, foreground: dict[str, set[int]]) -> str:
    if all(len(content["labels"][name]) < 2 for name in foreground if isinstance(content["labels"][name], list)):
        return ""
    with_background = [name for name, value in foreground.items() if 0 in value]
    if with_background:
        return f"labels: 0 is the background; expected regions without it, got it in {', '.join(with_background)}"
    order = content.get("regions_class_order")
    if order is None:
        return "labels with regions need regions_class_order: the value that each region is painted with, in order"
    if len(order) != len(foreground):
        return f"regions_class_order: expected {len(foreground)} values, one a region ({', '.join(foreground)}); got {order}"
    unknown = sorted(set(order) - set.union(*foreground.values()))
    if unknown or len(set(order)) != len(order):
        return f"regions_class_order: expected values of the regions, each once; got {order}"
    return ""


def overpainted_regions(content: dict) -> list[str]:
    """Regions that a later one covers when nnU-Net paints them in order: "core is covered by whole".

    Args:
        content: a checked dataset.json with labels.
    """
    values = {n: set(v) if isinstance(v, list) else {v} for n, v in content["labels"].items() if n != "ignore"}
    regions = [(name, value) for name, value in values.items() if value != {0}]
    if all(len(value) == 1 for _, value in regions):
        return []
    return [
        f"{small} is covered by {large}"
        for i, (small, inner) in enumerate(regions)
        for large, outer in regions[i + 1 :]
        if inner < outer
    ]
