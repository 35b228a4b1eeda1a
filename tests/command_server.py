"""Console scripts for tests, without the seconds in which each new process imports torch and nnU-Net.

A server imports them once and forks for every command. The child reads environment, folder and arguments as the script
would, imports nnuda anew, and runs the entry point of that name. Worker processes that nnU-Net would spawn are forked.
`Commands.folder` is like the folder of an environment's scripts: a file for each command, and a python, so that what
starts commands of its own (nnUDA_adapt, a shell) finds these. `toy.run` uses it; with real=True the installed script.

Run as a program this file is the server.
"""

from __future__ import annotations

import atexit
import json
import multiprocessing
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import warnings
from contextlib import redirect_stdout, suppress
from functools import cache
from importlib import import_module, metadata
from pathlib import Path

HEAVY = (
    "torch._dynamo",
    "nnunetv2.run.run_training",
    "nnunetv2.inference.predict_from_raw_data",
    "nnunetv2.experiment_planning.plan_and_preprocess_entrypoints",
    "nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerDA5",
    "monai.metrics",
    "sklearn.manifold",
)
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "nnUNet_def_n_proc": "1"}  # read when torch and nnU-Net are imported
CLIENT = """#!{python} -IS
import json, os, signal, socket, struct, sys
link = socket.socket(socket.AF_UNIX)
link.connect({address!r})
request = json.dumps([sys.argv, dict(os.environ), os.getcwd()]).encode()
socket.send_fds(link, [struct.pack("!Q", len(request))], [0, 1, 2])
link.sendall(request)
child = struct.unpack("!q", link.recv(8, socket.MSG_WAITALL))[0]
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, _: os.killpg(child, number))
status = struct.unpack("!q", link.recv(8, socket.MSG_WAITALL))[0]
if status < 0:
    signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""


class Commands:
    """The server and the folder of its commands; both go with this process."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="commands"))
        self.folder = self.root / "bin"
        self.folder.mkdir()
        self._like_an_environment()
        address = str(self.root / "socket")
        self.alive, theirs = os.pipe()[::-1]  # the server reads its end when we are gone
        self.server = subprocess.Popen(
            [sys.executable, __file__, address, str(theirs)],
            env={name: value for name, value in os.environ.items() if name[:7] != "nnUNet_"} | ENVIRONMENT,
            pass_fds=[theirs],
            stdout=subprocess.PIPE,
            start_new_session=True,  # what a test ends is not the server
        )
        os.close(theirs)
        for name in json.loads(self.server.stdout.readline()):
            (self.folder / name).write_text(CLIENT.format(python=self.folder / "python", address=address))
            (self.folder / name).chmod(0o755)
        atexit.register(self.close)

    def _like_an_environment(self) -> None:
        (self.folder / "python").symlink_to(sys.executable)
        for name in ("pyvenv.cfg", "lib"):
            if (Path(sys.prefix) / name).exists():
                (self.root / name).symlink_to(Path(sys.prefix) / name)

    def close(self) -> None:
        """End the server."""
        self.server.kill()
        self.server.wait()
        shutil.rmtree(self.root, ignore_errors=True)


@cache
def commands() -> Commands:
    """Those of this process, started when they are first asked for."""
    return Commands()


def scripts() -> dict[str, metadata.EntryPoint]:
    """The entry points of nnuda and nnU-Net by the names of their commands."""
    found = metadata.entry_points(group="console_scripts")
    return {entry.name: entry for entry in found if entry.name.startswith(("nnUDA_", "nnUNetv2_"))}


def serve(address: str, alive: int) -> None:
    """Fork for each command until the process that started the server is gone."""
    entries = scripts()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in HEAVY:
            import_module(name)
        os.environ.pop("nnUNet_extTrainer", None)
        with suppress(RuntimeError), redirect_stdout(None):  # looking for a trainer imports all of nnU-Net's
            import_module("nnunetv2.utilities.find_objects").recursive_find_trainer_class_by_name("none")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print(json.dumps(sorted(entries)), flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if os.fork() == 0:
        os.read(alive, 1)
        os.kill(os.getppid(), signal.SIGKILL)
        os._exit(0)
    os.close(alive)
    while True:
        link, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            sys.executable = str(Path(address).parent / "bin" / "python")  # beside which commands of its own are found
            answer(link, entries)
        link.close()


def answer(link: socket.socket, entries: dict[str, metadata.EntryPoint]) -> None:
    """Run one command in a child, and say how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, files, *_ = socket.recv_fds(link, 8, 3)
    words, environment, folder = json.loads(link.recv(struct.unpack("!Q", size)[0], socket.MSG_WAITALL))
    child = os.fork()
    os.setpgid(child, child or os.getpid())  # by both, since either may come first
    if child == 0:
        link.close()
        os._exit(run(entries[Path(words[0]).name], words, environment, folder, files))
    for file in files:
        os.close(file)
    link.sendall(struct.pack("!q", child))
    ended = 0
    while not ended:
        gone, _, _ = select.select([link], [], [], 0.05)
        if gone:  # the client was killed, and the command with it
            os.killpg(child, signal.SIGKILL)
            os._exit(0)
        ended, status = os.waitpid(child, os.WNOHANG)
    link.sendall(struct.pack("!q", os.waitstatus_to_exitcode(status)))
    os._exit(0)


def run(entry: metadata.EntryPoint, words: list[str], environment: dict, folder: str, files: list[int]) -> int:
    """The command in this process; its exit status."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = words
    unbuffered = "PYTHONUNBUFFERED" in environment
    for name, number in (("stdout", 1), ("stderr", 2)):
        raw = os.fdopen(os.dup(number), "w", 1 if unbuffered or number == 2 else -1, encoding="utf-8", errors="replace")
        setattr(sys, name, raw)
        setattr(sys, f"__{name}__", raw)
    multiprocessing.cpu_count = lambda: 1  # nnU-Net takes so many threads; a fork of a process with two may hang
    contexts = multiprocessing.context._concrete_contexts
    contexts["spawn"] = contexts["fork"]
    import_module("nnuda.registration").register()  # what the .pth line does at the start of a Python
    try:
        status = entry.load()()
    except SystemExit as error:
        status = error.code
        if isinstance(status, str):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 130 if isinstance(sys.exc_info()[1], KeyboardInterrupt) else 1
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return int(status or 0)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
