"""A virtual environment with all packages of this one but nnuda, in which no connection can be opened."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import venv
from pathlib import Path

OFFLINE = """
import sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise OSError("no network here")

sys.addaudithook(refuse)
"""
COMMAND = """
import sys
from importlib.metadata import entry_points
sys.argv = sys.argv[1:]
[entry] = entry_points(group="console_scripts", name=sys.argv[0])
entry.load()()
"""


class PlainEnvironment:
    """Links, no copies: it takes a second to make."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False)
        self.elsewhere = folder / "elsewhere"  # python -c would find nnuda in the checkout
        self.elsewhere.mkdir()
        self.python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
        site_packages = Path(self.execute({}, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        for entry in Path(sysconfig.get_path("purelib")).iterdir():
            if "nnuda" not in entry.name and entry.name != "__pycache__":
                (site_packages / entry.name).symlink_to(entry)
        (site_packages / "sitecustomize.py").write_text(OFFLINE)

    def execute(self, variables: dict[str, str], *arguments: str | Path) -> str:
        """Run its Python with these environment variables and no others of nnU-Net's; returns what it printed."""
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "SYSTEMROOT", "TMPDIR") if name in os.environ}
        environment = {**kept, "PATH": f"{self.python.parent}{os.pathsep}{os.defpath}", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [self.python, *arguments],
            cwd=self.elsewhere,
            env={**environment, **variables},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def command(self, variables: dict[str, str], *words: str | Path) -> str:
        """Run a console script of one of its packages."""
        return self.execute(variables, "-c", COMMAND, *words)
