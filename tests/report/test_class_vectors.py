"""Cosines between what a method keeps of its classes."""
from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from made_run import checkpoint, make_run
from nnuda.report.class_vectors import class_vectors, cosines, last_picture, relation_pictures, relations_section
from nnuda.report.run import read_run
from nnuda.statistics.class_memory import ClassMemory
from nnuda.statistics.class_statistics import ClassStatistics
from torch import nn


def test_prototypes_of_the_dictionaries() -> None:
    vectors = class_vectors(checkpoint()["nnuda"]["statistics"])
    torch.testing.assert_close(vectors["source"][1], torch.tensor([math.cos(2), math.sin(2)]))
    same = np.diag(cosines(vectors["source"], vectors["target"]))
    np.testing.assert_allclose(same, math.cos(0.1), atol=1e-6)
    assert cosines(vectors["source"], vectors["source"])[0, 1] == pytest.approx(math.cos(2), abs=1e-6)


def test_class_means_and_texts() -> None:
    kept = nn.ModuleDict({
        "text": nn.Embedding.from_pretrained(torch.eye(3)),
        "text_source": ClassMemory(3, 3, 0.9),
        "source": ClassStatistics(3, 3, "full", 0.9)
    })
    kept["text_source"].mean[1], kept["text_source"].seen[1] = torch.tensor([0.0, 2.0, 0.0]), True
    vectors = class_vectors(kept.state_dict())
    assert set(vectors) == {"text", "text_source", "source"} and vectors["source"].isnan().all()
    matrix = cosines(vectors["text"], vectors["text_source"])
    assert matrix[1, 1] == 1 and matrix[0, 1] == 0 and np.isnan(matrix[:, [0, 2]]).all()


def test_pictures_of_vectors_and_of_the_folder(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    run = read_run(str(folder))
    assert [picture.alt.rsplit(", ", 1)[-1] for picture in relation_pictures(run)
           ] == ["source", "target", "source and target"]
    assert "the same class 0.995" in relation_pictures(run)[-1].caption
    assert relations_section(run).blocks[-1].pictures[0].file == (folder / "translations" /
                                                                  "epoch_0001.png").read_bytes()
    assert last_picture(str(folder)) is None
    (folder / "translations" / "epoch_0001.png").unlink()
    run.checkpoint["nnuda"]["statistics"] = {}
    assert relations_section(run) is None
