"""What pyproject.toml cannot say: where trainers/ and plans/ are installed, and the .pth line that registers the
trainers with nnU-Net."""

from __future__ import annotations

import os

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

PTH_NAME = "nnuda_trainers.pth"  # sorts behind setuptools' own "__editable__*.pth", whose finder it needs
PTH_LINE = 'import sys; exec("try:\\n import nnuda.registration\\nexcept BaseException:\\n pass")\n'


class BuildPyWithPth(build_py):
    """Puts the .pth file at the top of the wheel, that is, into site-packages."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            with open(os.path.join(self.build_lib, PTH_NAME), "w") as file:
                file.write(PTH_LINE)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        pth = [] if self.editable_mode else [os.path.join(self.build_lib, PTH_NAME)]
        return [*super().get_outputs(include_bytecode), *pth]


class _StrategyWithPth:
    """An editable-install strategy that also writes the .pth file into the editable wheel."""

    def __init__(self, strategy):
        self.strategy = strategy

    def __enter__(self):
        self.strategy.__enter__()
        return self

    def __exit__(self, *error):
        return self.strategy.__exit__(*error)

    def __call__(self, wheel, files, mapping) -> None:
        self.strategy(wheel, files, mapping)
        wheel.writestr(PTH_NAME, PTH_LINE)


class EditableWheelWithPth(editable_wheel):
    """`pip install -e .` registers the trainers just as a wheel does."""

    def _select_strategy(self, *args, **kwargs):
        return _StrategyWithPth(super()._select_strategy(*args, **kwargs))


setup(
    packages=[*find_packages(include=["nnuda", "nnuda.*"]), "nnuda.trainers", "nnuda.plans"],
    package_dir={"nnuda": "nnuda", "nnuda.trainers": "trainers", "nnuda.plans": "plans"},
    package_data={
        "nnuda": ["py.typed"],
        "nnuda.report": ["*.html"],
        "nnuda.published": ["*.json"],
        "nnuda.plans": ["*.json"],
    },
    cmdclass={"build_py": BuildPyWithPth, "editable_wheel": EditableWheelWithPth},
)
