"""The wheel and the editable install, each in a scratch environment that borrows the other packages of this one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import nnuda
from nnuda.settings import preset_names

ROOT = Path(__file__).parents[1]
PARENT = Path(sysconfig.get_path("purelib"))
PTH = "nnuda_trainers.pth"
# asked of metadata: looking for the module pip makes setuptools leave distutils alone in this process, and torch.compile
# can then not import setuptools
INSTALLED = {package.name.lower(): package.version for package in metadata.distributions()}
pytestmark = pytest.mark.skipif(
    "pip" not in INSTALLED or int(INSTALLED.get("setuptools", "0").split(".")[0]) < 80,
    reason="building nnuda without isolation needs pip and setuptools>=80 in this environment",
)

USE = """
import json, os, sys
registered = os.environ["nnUNet_extTrainer"]
import nnuda, nnuda.trainers, nnuda.plans
from nnuda.registration import trainers_folder
from nnuda.settings import load_preset, preset_names
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
found = recursive_find_trainer_class_by_name("nnUDATrainerSourceOnly")
print(json.dumps({"nnuda": nnuda.__file__, "folder": trainers_folder(), "registered": registered, "trainer": found.__name__,
                  "presets": {name: len(load_preset(name)) for name in preset_names()}}))
"""


def run(*command: str | Path, cwd: Path) -> str:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("nnUNet_", "nnUDA_", "PYTHON"))
    }
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    """A copy of what a build reads: building leaves its traces there."""
    copy = tmp_path_factory.mktemp("sources")
    for name in ("nnuda", "trainers", "plans"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture(scope="module")
def wheel(sources, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", out, sources, cwd=out)
    return next(out.glob("nnuda-*.whl"))


class Scratch:
    """A virtual environment that pip of this one installs into; `borrow` lets it see the packages of this one,
    but not its nnuda."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False)
        self.folder = folder
        self.elsewhere = folder / "elsewhere"
        self.elsewhere.mkdir()
        self.python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
        self.site_packages = Path(self.execute("import sysconfig; print(sysconfig.get_path('purelib'))").strip())

    def execute(self, code: str) -> str:
        return run(self.python, "-c", code, cwd=self.elsewhere)

    def pip(self, *arguments: str | Path) -> None:
        run(sys.executable, "-m", "pip", "--python", self.python, *arguments, "-q", cwd=self.elsewhere)

    def lend_setuptools(self) -> None:
        tools = self.folder / "tools"
        tools.mkdir()
        for part in ("setuptools", "_distutils_hack", f"setuptools-{metadata.version('setuptools')}.dist-info"):
            (tools / part).symlink_to(PARENT / part)
        (self.site_packages / "tools.pth").write_text(f"{tools}\n")

    def borrow(self) -> None:
        """The folder alone: the .pth files in it, nnuda's among them, do not run."""
        (self.site_packages / "zz_borrowed.pth").write_text(f"{PARENT}\n")

    def give_back(self) -> None:
        """Before pip uninstalls: it must see this environment's nnuda alone."""
        (self.site_packages / "zz_borrowed.pth").unlink()


def use_and_uninstall(scratch: Scratch, expected: Path) -> None:
    """Args: expected: the folder that nnuda/ must have come from."""
    assert (scratch.site_packages / PTH).is_file()
    scratch.borrow()
    seen = json.loads(scratch.execute(USE).splitlines()[-1])
    assert Path(seen["nnuda"]).parents[1] == expected
    assert seen["registered"] == seen["folder"] and Path(seen["folder"]).is_relative_to(expected)
    assert seen["trainer"] == "nnUDATrainerSourceOnly"
    assert seen["presets"].keys() == set(preset_names())
    scratch.give_back()
    scratch.pip("uninstall", "-y", "nnuda")
    assert scratch.execute("import os; print(os.environ.get('nnUNet_extTrainer'))").strip() == "None"
    # the .pth file and the commands too
    assert not [path for path in scratch.folder.rglob("*") if "nnuda" in path.name.lower()]


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    outside = {name for name in names if not name.startswith(("nnuda/", "nnuda-"))}
    assert outside == {PTH}
    for folder, suffix in (
        ("nnuda", ".py"),
        ("nnuda", ".html"),
        ("nnuda", ".json"),
        ("trainers", ".py"),
        ("plans", ".json"),
    ):
        for path in (ROOT / folder).rglob(f"*{suffix}"):
            inside = path.relative_to(ROOT).as_posix()
            assert (inside if folder == "nnuda" else f"nnuda/{inside}") in names


def test_the_wheel_installed(wheel, tmp_path):
    scratch = Scratch(tmp_path)
    scratch.pip("install", "--no-deps", "--no-index", wheel)
    use_and_uninstall(scratch, expected=scratch.site_packages)


@pytest.mark.parametrize("mode", [[], ["--config-settings", "editable_mode=strict"]], ids=["lenient", "strict"])
def test_the_editable_install(sources, tmp_path, mode):
    scratch = Scratch(tmp_path)
    scratch.lend_setuptools()
    scratch.pip("install", "--no-deps", "--no-index", "--no-build-isolation", *mode, "-e", sources)
    use_and_uninstall(scratch, expected=sources if not mode else next(sources.glob("build/__editable__.*")))


def test_versions_agree():
    assert metadata.version("nnuda") == nnuda.__version__
    assert f'version = "{nnuda.__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_every_command_can_be_loaded():
    commands = [entry for entry in metadata.distribution("nnuda").entry_points if entry.group == "console_scripts"]
    assert {"nnUDA_check", "nnUDA_plan_and_preprocess", "nnUDA_configure"} <= {entry.name for entry in commands}
    for entry in commands:
        assert callable(entry.load()), entry
