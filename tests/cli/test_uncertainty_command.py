"""nnUDA_uncertainty as a user runs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnuda.cli.uncertainty import main

DATASET_JSON = {"labels": {"background": 0, "liver": 1}, "file_ending": ".nii.gz"}


def test_maps_and_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(sys, "argv", ["nnUDA_uncertainty", str(tmp_path)])
    with pytest.raises(SystemExit, match="Error: Expected a dataset.json"):
        main()
    (tmp_path / "dataset.json").write_text(json.dumps(DATASET_JSON))
    probabilities = np.random.default_rng(0).dirichlet([1, 1], (3, 5, 4)).transpose(3, 0, 1, 2)
    np.savez_compressed(tmp_path / "a.npz", probabilities=probabilities)
    sitk.WriteImage(sitk.GetImageFromArray(probabilities.argmax(axis=0).astype(np.uint8)), str(tmp_path / "a.nii.gz"))
    main()
    assert "1 maps in" in capsys.readouterr().out
    assert (tmp_path / "entropy" / "a_entropy.nii.gz").is_file()
