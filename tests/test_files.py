"""Files written aside, then renamed."""

from __future__ import annotations

import os

import pytest

from nnuda.files import folder_aside, replacing, write_json, write_text


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
