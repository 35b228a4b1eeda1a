"""Files written aside, then renamed."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from nnuda import files
from nnuda.files import (
    FileError,
    LockedError,
    check_output,
    check_output_folder,
    check_own_folder,
    folder_aside,
    inside,
    locked,
    read_arrays,
    read_json,
    replacing,
    sweep,
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


def test_a_file_reaches_the_disk_before_its_name_and_the_name_before_we_go_on(tmp_path, monkeypatch):
    done = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append(os.readlink(f"/proc/self/fd/{file}")), sync(file)))
    monkeypatch.setattr(os, "replace", lambda old, new: (done.append("rename"), replace(old, new)))
    write_text("new", str(tmp_path / "a.txt"))
    assert [name.rsplit("/", 1)[-1].split(".")[0] for name in done] == ["a", "rename", tmp_path.name]


def dead_process() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def leave(path: Path, age: float = 0) -> Path:
    path.write_text("half")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_leftovers_of_killed_processes_are_swept_and_nothing_else(tmp_path):
    host, dead, day = files._HOST, dead_process(), 24 * 3600
    swept = [
        leave(tmp_path / f"checkpoint_latest.pth.{host}-{dead}.tmp"),
        leave(tmp_path / f"map.{host}-{dead}.tmp.nii.gz"),
        leave(tmp_path / f"b.json.other-host-{os.getpid()}.tmp", 2 * day),
        leave(tmp_path / f"c.json.{host}-{os.getpid()}.tmp", day),  # a process of the same number, before this one
        tmp_path / f"nnUNetPlans_2d.{host}-{dead}.tmp",
    ]
    swept[-1].mkdir()
    (swept[-1] / "case.b2nd").write_text("half")
    kept = [
        leave(tmp_path / f"a.json.{host}-{os.getppid()}.tmp", 2 * day),  # runs
        leave(tmp_path / f"a.json.other-host-{dead}.tmp"),  # may run there
        leave(tmp_path / f"a.json.{host}-{os.getpid()}.tmp"),
        leave(tmp_path / "notes.2023.tmp", 400 * day),  # a user's
        leave(tmp_path / f"my.{dead}.tmp"),
        leave(tmp_path / f"{host}-{dead}.txt"),
    ]
    assert sweep(str(tmp_path)) == sorted(path.name for path in swept)
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    assert sweep(str(tmp_path / "missing")) == []


@pytest.mark.parametrize("write", [lambda path: write_text("x", path), lambda path: folder_aside(path).__enter__()])
def test_the_first_writing_into_a_folder_sweeps_it(tmp_path, write):
    left = leave(tmp_path / f"other.json.{files._HOST}-{dead_process()}.tmp")
    write(str(tmp_path / "new"))
    assert not left.exists()


HOLDER = """
import os, sys, time
from nnuda.files import locked
with locked(sys.argv[1], "the results folder"):
    read, write = os.pipe()
    if len(sys.argv) > 2:
        if os.fork() == 0:  # a worker, which outlives it
            os.write(write, b"!")
            time.sleep(60)
        os.read(read, 1)  # it runs, and has let go of the lock
    print("locked", flush=True)
    time.sleep(60)
"""


def holder(lock: Path, *more: str) -> subprocess.Popen:
    started = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock), *more], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert started.stdout.readline() == "locked\n"
    return started


@pytest.mark.parametrize("more", [(), ("with a worker",)], ids=["alone", "with a worker"])
def test_a_lock_says_who_holds_it_and_ends_with_its_process(tmp_path, more):
    lock = tmp_path / "fold_0" / "nnuda.lock"
    other = holder(lock, *more)
    try:
        with pytest.raises(LockedError) as error, locked(str(lock), "the results folder"):
            pass
        holds = f"process {other.pid} on {socket.gethostname()} since 20"
        assert f"Another program is at work in the results folder: {holds}" in str(error.value)
        other.kill()
        other.wait()
        with locked(str(lock), "the results folder"):
            assert f"process {os.getpid()} on" in lock.read_text()
        assert not lock.exists()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(other.pid, signal.SIGKILL)


def test_whoever_waits_for_a_removed_lock_does_not_share_it(tmp_path):
    """A program that opened the file just before it was removed must not think that it holds the lock of its name."""
    lock = str(tmp_path / "a.lock")
    with locked(lock, "it"):
        os.remove(lock)
        with locked(lock, "it"), pytest.raises(LockedError), locked(lock, "it"):
            pass


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
    def read_only(path: str, *_) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    monkeypatch.setattr("os.open", read_only)
    with pytest.raises(FileError, match=r"nnUNet_results: nothing can be written in .* \(Read-only file system\)"):
        check_output_folder(str(tmp_path), "nnUNet_results")


def test_a_trial_leaves_nothing_even_where_nothing_can_be_removed(tmp_path, monkeypatch) -> None:
    def fails(path: str, *_, **__) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    monkeypatch.setattr("os.remove", fails)
    check_output_folder(str(tmp_path / "new"), "-o")
    assert os.listdir(tmp_path) == []


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


def test_an_array_that_is_there_twice(tmp_path: Path) -> None:
    one = io.BytesIO()
    np.save(one, np.zeros(3))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("b.npy", "liver.npy", "liver.npy"):
            archive.writestr(name, one.getvalue())
    with pytest.raises(FileError, match="a.npz: expected vectors .*liver is in it twice"):
        read_arrays(tmp_path / "a.npz", "vectors")


@pytest.mark.parametrize(
    ("held", "record", "refused"),
    [
        ([], "", ""),
        (["nnuda.lock"], "", ""),
        (["ours.json", "b", "c"], "ours.json", ""),
        (["ours.json"], "", "expected a new or empty folder; .* holds ours.json"),
        (
            list("dcba"),
            "ours.json",
            "expected a new or empty folder, or one that this command wrote; .* holds a, b, c. Name",
        ),
    ],
)
def test_a_folder_of_the_users_is_not_written_in(tmp_path: Path, held: list[str], record: str, refused: str) -> None:
    for name in held:
        (tmp_path / name).touch()
    with pytest.raises(FileError, match=f"-o: {refused}") if refused else contextlib.nullcontext():
        check_own_folder(str(tmp_path), "-o", record)
    assert sorted(os.listdir(tmp_path)) == sorted(held)
    check_own_folder(str(tmp_path / "new"), "-o", record)


def test_text_that_is_no_utf8_is_written(tmp_path: Path) -> None:
    write_text("case \udcff", str(tmp_path / "a.txt"))
    assert (tmp_path / "a.txt").read_text() == "case \\udcff"


KILLED_WHILE_IT_TRIES = """
import os, signal, sys
from nnuda import files
files.shutil.disk_usage = lambda _: os.kill(os.getpid(), signal.SIGKILL)
files.check_output_folder(sys.argv[1], "-o", sys.argv[2])
"""


@pytest.mark.parametrize(("folder", "name", "left"), [("new/folder", "", 0), ("", "", 0), ("", "a.json", 1)])
def test_what_a_killed_try_left_is_swept_by_the_next_one(folder: str, name: str, left: int, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED_WHILE_IT_TRIES, str(tmp_path / folder), name])
    assert len(os.listdir(tmp_path)) == left
    check_output_folder(str(tmp_path / folder), "-o", name)
    assert os.listdir(tmp_path) == []


def test_an_entry_that_stands_twice_is_refused(tmp_path):
    file = tmp_path / "a.json"
    file.write_text('{"labels": {"a": 1, "b": 2, "a": 3}}')
    with pytest.raises(FileError, match="a.json: expected labels; got the entry 'a' twice in one object. Mend it"):
        read_json(file, "labels", remedy="Mend it.")
