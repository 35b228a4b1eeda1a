"""What several members say together, and how it is stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnuda.selftraining.keeping import Vote
from nnuda.selftraining.predict import read_vote, vote, write_vote

CLASSES = LabelManager({"background": 0, "a": 1, "b": 2}, None)
REGIONS = LabelManager({"background": 0, "whole": [1, 2], "core": [2]}, [1, 2])


def probabilities(*voxels: tuple[float, ...]) -> np.ndarray:
    """(C, 1, voxels)."""
    return np.array(voxels, np.float32).T[:, None]


def test_classes():
    first = probabilities((0.5, 0.375, 0.125), (0, 1, 0))
    second = probabilities((0.25, 0.625, 0.125), (0, 0.5, 0.5))
    said = vote([first, second], CLASSES)
    assert said.label.tolist() == [[1, 1]] and said.confidence.tolist() == [[0.5, 0.75]]
    assert said.agreeing.tolist() == [[1, 2]] and said.members == 2


def test_regions_are_painted_and_as_sure_as_their_least_sure():
    first = probabilities((1, 0.75), (0.875, 0.25), (0.125, 0))
    said = vote([first, probabilities((1, 0), (0.875, 0.25), (0.125, 0))], REGIONS)
    assert said.label.tolist() == [[1, 1, 0]] and said.confidence.tolist() == [[0.625, 0.75, 0.875]]
    assert said.agreeing.tolist() == [[1, 2, 2]]  # the first member paints the core over the first voxel


def test_a_stored_vote_is_read_again_and_nothing_else(tmp_path: Path):
    file = str(tmp_path / "case.npz")
    said = Vote(np.array([[1]], np.uint8), np.array([[0.75]], np.float16), np.array([[2]], np.uint8), 2)
    assert read_vote(file, 10) is None
    write_vote(said, file, 10)
    found = read_vote(file, 10)
    assert (found.label, found.confidence, found.agreeing, found.members) == (1, 0.75, 2, 2)
    assert read_vote(file, 11) is None  # another image under the old name
    Path(file).write_bytes(Path(file).read_bytes()[:-30])
    assert read_vote(file, 10) is None
