"""Files written aside, then renamed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nnuda.files import FileError, folder_aside, inside, read_json, replacing, write_json, write_text


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "new" / "file.txt"
    write_text("old\r\n", str(path))
    with replacing(str(path)) as aside:
        assert str(os.getpid()) in os.path.basename(aside) and os.path.dirname(aside) == str(path.parent)
        with open(aside, "w") as file:
            file.write("new")
        assert path.read_bytes() == b"old\r\n"
    assert path.read_text() == "new" and os.listdir(path.parent) == ["file.txt"]


def test_nothing_is_left_where_writing_fails(tmp_path):
    path = tmp_path / "map.nii.gz"
    with pytest.raises(KeyError), replacing(str(path), ".nii.gz") as aside:
        assert aside.endswith(".nii.gz")
        open(aside, "w").close()
        raise KeyError
    with pytest.raises(TypeError):
        write_json({"a": object()}, str(path))
    with pytest.raises(KeyError), folder_aside(str(tmp_path / "folder")) as aside:
        os.makedirs(os.path.join(aside, "deep"))
        raise KeyError
    assert os.listdir(tmp_path) == []


SCHEMA = {
    "type": "object",
    "required": ["labels"],
    "properties": {"labels": {"additionalProperties": {"type": "integer"}}},
}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no file"),
        (b"", "an empty file"),
        (b'{"labels": {"a', "no JSON \\(line 1, column"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ('{"labels": {}}'.encode("utf-16"), "not UTF-8"),
        (b"[1]", "is not of type 'object'"),
        (b"{}", "'labels' is a required property"),
        (b'{"labels": {"a": "x"}}', "labels.a: 'x' is not of type 'integer'"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_wrong_json_file_is_one_error_that_names_it(tmp_path: Path, content: bytes | None, says: str) -> None:
    file = tmp_path / "a.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(FileError, match=f"a.json: expected a list of labels; got .*{says}.*Restore it."):
        read_json(file, "a list of labels", SCHEMA, "Restore it.")


def test_a_right_json_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"labels": {"ä": 1}}', encoding="utf-8")
    assert read_json(tmp_path / "a.json", "labels", SCHEMA) == {"labels": {"ä": 1}}


@pytest.mark.parametrize("path", ["../victim", "a/../../victim", "/victim", ".", "", "link/a"])
def test_a_path_out_of_a_file_stays_inside(tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(FileError, match="target's folder: .* leads out of"):
        inside(str(root), path, "target's folder")
    assert inside(str(root), "a/b..c", "it") == str(root / "a" / "b..c")
