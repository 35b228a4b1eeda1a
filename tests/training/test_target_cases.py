"""The target's preprocessed cases are checked before the first step."""

from __future__ import annotations

import pytest
from harness import make_trainer


def test_an_unfinished_preprocessing_names_the_command(toy_environment):
    folder = next(toy_environment.preprocessed.glob("nnUDA_target_*")) / "nnUNetPlans_2d_toy"
    aside = [path.rename(path.with_name(f"{path.name}.aside")) for path in folder.glob("case3*")]
    try:
        trainer = make_trainer(toy_environment, "nnUDATrainerUUDS", "2d_toy", "unfinished")
        trainer.initialize()
        for path in aside:
            path.rename(folder.parent / path.name)
        with pytest.raises(FileNotFoundError, match="Expected 4 preprocessed cases .* found 3. Run: nnUDA_preprocess"):
            trainer.target_loader()
    finally:
        for path in folder.parent.glob("*.aside"):
            path.rename(folder / path.name.removesuffix(".aside"))
