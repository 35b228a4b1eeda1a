"""A SLURM of one node on this machine: munge, controller and node daemon on loopback, all of it below one folder."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue")
RUNTIME = Path("/run/slurm/conf/slurm.conf")  # where SLURM's commands look without a variable
WAIT_SECONDS = 30
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
MinJobAge=3600
NodeName={host} NodeAddr=127.0.0.1 CPUs={processors} RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class CannotStart(Exception):
    """Why there is no SLURM here."""


@contextmanager
def one_node_slurm(folder: Path) -> Iterator[None]:
    """SLURM's commands work within the block.

    Args:
        folder: for state, logs and sockets; a short path, since sockets have no long ones.

    Raises:
        CannotStart: with its reason.
    """
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
    programs = {name: shutil.which(name, path=path) for name in PROGRAMS}
    missing = [name for name, program in programs.items() if program is None]
    if missing:
        raise CannotStart(f"no {', '.join(missing)}: install slurm-wlm and munge")
    if os.geteuid() != 0:
        raise CannotStart("SLURM's node daemon needs root")
    if RUNTIME.exists() or Path("/etc/slurm/slurm.conf").exists():
        raise CannotStart("this machine has a SLURM already")
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    host = socket.gethostname().split(".")[0]
    text = CONFIGURATION.format(
        host=host, folder=folder, ports=_free_ports(), processors=os.cpu_count(), memory=_memory()
    )
    RUNTIME.parent.mkdir(parents=True, exist_ok=True)
    RUNTIME.write_text(text)
    try:
        _start_munge(folder, programs["munged"])
        for name in ("slurmctld", "slurmd"):
            subprocess.run([programs[name], "-f", str(RUNTIME)], check=True, capture_output=True, timeout=WAIT_SECONDS)
        _wait_for_node(folder)
        yield
    except subprocess.SubprocessError as error:
        raise CannotStart(f"{error} {getattr(error, 'stderr', '')}") from error
    finally:
        _stop(folder)
        RUNTIME.unlink()


def _start_munge(folder: Path, program: str) -> None:
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    folder.chmod(0o755)
    places = [f"--{name}={folder}/munge.{ending}" for name, ending in (("socket", "socket"), ("pid-file", "pid"))]
    places += [f"--key-file={key}", f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed"]
    subprocess.run([program, "--force", *places], check=True, capture_output=True, timeout=WAIT_SECONDS)


def _memory() -> int:
    """In MB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20


def _free_ports() -> list[int]:
    sockets = [socket.socket() for _ in range(2)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _wait_for_node(folder: Path) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        found = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True)
        if "idle" in found.stdout:
            return
        time.sleep(0.2)
    logs = [file.read_text()[-500:] for file in folder.glob("slurm*.log")]
    raise CannotStart(f"the node did not come up: {found.stdout} {found.stderr} {' '.join(logs)}")


def _stop(folder: Path) -> None:
    """End what was started, and wait until it has written its state."""
    files = [folder / f"{name}.pid" for name in ("slurmd", "slurmctld", "munge")]
    for number in [int(file.read_text()) for file in files if file.is_file()]:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGTERM)
            until = time.monotonic() + WAIT_SECONDS
            while time.monotonic() < until:
                os.kill(number, 0)
                time.sleep(0.1)


if __name__ == "__main__":  # python tests/one_node_slurm.py COMMAND ...: runs it where sbatch works
    with tempfile.TemporaryDirectory(prefix="slurm", dir="/tmp") as place, one_node_slurm(Path(place)):
        sys.exit(subprocess.run(sys.argv[1:]).returncode)
