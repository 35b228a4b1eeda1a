"""Files written aside, then renamed."""

from __future__ import annotations

import errno
import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from nnuda.files import (
    FileError,
    check_output,
    check_output_folder,
    folder_aside,
    inside,
    read_arrays,
    read_json,
    replacing,
    write_json,
    write_text,
)


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


HUGE = b'{"labels": {"a": ' + b"9" * 5000 + b"}}"


def test_a_number_of_thousands_of_digits_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(HUGE)
    with pytest.raises(FileError, match="a.json: expected labels; got no JSON"):
        read_json(tmp_path / "a.json", "labels")


class Evil:
    def __reduce__(self) -> tuple:
        return os.system, ("touch pwned",)


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "got no file"),
        (b"", "a damaged file"),
        (b"PK\3\4broken", "a damaged file"),
        (npz(a=np.ones(1000))[:300], "a damaged file"),
        (npz(a=np.array([Evil()], dtype=object)), "Python objects, which are not read"),
        (pickle.dumps(Evil()), "Python objects, which are not read"),
    ],
)
def test_a_wrong_array_file_is_one_error_and_runs_nothing(tmp_path, monkeypatch, content, says) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(FileError, match=f"a.npz: expected vectors .*{says}.*Make it again."):
        read_arrays("a.npz", "vectors", "Make it again.")
    assert not (tmp_path / "pwned").exists()


def test_right_arrays_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(3))
    assert read_arrays(tmp_path / "a.npz", "it")["x"].tolist() == [0, 1, 2]
    np.save(tmp_path / "single.npy", np.arange(3))
    with pytest.raises(FileError, match="another kind of file"):
        read_arrays(tmp_path / "single.npy", "it")


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("folder", "is a folder"),
        ("mine.json", "did not write it.*--force"),
        ("dangling", "did not write it"),
        ("mine.json/below.json", "mine.json is a file"),
        ("/dev/null", "a device or the like"),
        ("/proc/none/x.json", "nothing can be written in /proc/none"),
        ("a" * 300, "nothing can be written.*name too long"),
    ],
)
def test_a_place_that_cannot_be_written_to_is_found_before_the_work(tmp_path, monkeypatch, place, says) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "mine.json").write_text('{"mine": 1}')
    (tmp_path / "dangling").symlink_to("nowhere")
    before = sorted(os.listdir())
    with pytest.raises(FileError, match=f"(?i)-o: .*{says}"):
        check_output(place, "-o", b'"ours": ')
    assert sorted(os.listdir()) == before


def test_a_read_only_folder_is_found_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(path: str, mode: str = "r") -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    monkeypatch.setattr("builtins.open", read_only)
    with pytest.raises(FileError, match=r"nnUNet_results: nothing can be written in .* \(Read-only file system\)"):
        check_output_folder(str(tmp_path), "nnUNet_results")


def test_a_full_disk_is_found_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(FileError, match="No space left on device"):
        check_output(str(tmp_path / "new" / "a.json"), "-o")
    assert os.listdir(tmp_path) == []


def test_good_places(tmp_path: Path) -> None:
    check_output(str(tmp_path / "new" / "deep" / "a.json"), "-o")
    (tmp_path / "ours.json").write_text('{"ours": 1}')
    check_output(str(tmp_path / "ours.json"), "-o", b'"ours": ')
    (tmp_path / "mine.json").write_text("mine")
    check_output(str(tmp_path / "mine.json"), "-o", b'"ours": ', force=True)
    assert sorted(os.listdir(tmp_path)) == ["mine.json", "ours.json"]


def test_text_that_is_no_utf8_is_written(tmp_path: Path) -> None:
    write_text("case \udcff", str(tmp_path / "a.txt"))
    assert (tmp_path / "a.txt").read_text() == "case \\udcff"
