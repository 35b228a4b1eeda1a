"""Cosines between what a method keeps of its classes."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from made_run import checkpoint, make_run
from torch import nn

from nnuda.report.class_vectors import class_vectors, cosines, last_picture, relation_pictures, relations_section
from nnuda.report.run import read_run
from nnuda.statistics.class_memory import ClassMemory
from nnuda.statistics.class_statistics import ClassStatistics
from nnuda.statistics.prototype_dictionary import PrototypeDictionary


def test_prototypes_of_the_dictionaries() -> None:
    vectors = class_vectors(checkpoint()["nnuda"])
    torch.testing.assert_close(vectors["source"][1], torch.tensor([math.cos(2), math.sin(2)]))
    same = np.diag(cosines(vectors["source"], vectors["target"]))
    np.testing.assert_allclose(same, math.cos(0.1), atol=1e-6)
    assert cosines(vectors["source"], vectors["source"])[0, 1] == pytest.approx(math.cos(2), abs=1e-6)


def test_class_means_and_texts() -> None:
    kept = nn.ModuleDict(
        {
            "text": nn.Embedding.from_pretrained(torch.eye(3)),
            "text_source": ClassMemory(3, 3, 0.9),
            "source": ClassStatistics(3, 3, "full", 0.9),
        }
    )
    kept["text_source"].mean[1], kept["text_source"].seen[1] = torch.tensor([0.0, 2.0, 0.0]), True
    vectors = class_vectors({"statistics": kept.state_dict()})
    assert set(vectors) == {"text", "text source", "source"} and vectors["source"].isnan().all()
    matrix = cosines(vectors["text"], vectors["text source"])
    assert matrix[1, 1] == 1 and matrix[0, 1] == 0 and np.isnan(matrix[:, [0, 2]]).all()


def test_pictures_of_vectors_and_of_the_folder(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    run = read_run(str(folder))
    assert [picture.alt.rsplit(", ", 1)[-1] for picture in relation_pictures(run)] == [
        "source",
        "target",
        "source and target",
    ]
    assert "the same class 0.995" in relation_pictures(run)[-1].caption
    assert (
        relations_section(run).blocks[-1].pictures[0].file == (folder / "translations" / "epoch_0001.png").read_bytes()
    )
    assert last_picture(str(folder)) is None
    (folder / "translations" / "epoch_0001.png").unlink()
    run.checkpoint["nnuda"]["statistics"] = {}
    assert relations_section(run) is None


def test_the_modules_say_what_an_older_checkpoint_is_read_for() -> None:
    """Both ways of reading give the same vectors."""
    kept = {
        "text source": ClassMemory(3, 3, 0.9),
        "source": ClassStatistics(3, 3, "full", 0.9),
        "target": PrototypeDictionary(3, 4, 3),
    }
    kept["text source"].mean[1], kept["text source"].seen[1] = torch.tensor([0.0, 2.0, 0.0]), True
    kept["source"].mean[2], kept["source"].count[2] = torch.tensor([1.0, 2.0, 3.0]), 9
    for size in (1, 2, 3, 4, 5, 6):
        kept["target"].update(torch.randn(2, 3, 3), torch.tensor([[True, size > 4, False], [True, False, False]]))
    state = {
        "statistics": nn.ModuleDict({name.replace(" ", "_"): module for name, module in kept.items()}).state_dict()
    }
    offered = {name: dict(zip(("values", "there"), module.class_vectors())) for name, module in kept.items()}
    torch.testing.assert_close(class_vectors({"class_vectors": offered}), class_vectors(state), equal_nan=True)


def test_a_method_that_the_report_does_not_know(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    file = folder / "checkpoint_final.pth"
    content = torch.load(file, weights_only=False)
    vectors = {"values": torch.eye(3), "there": torch.tensor([True, True, False])}
    content["nnuda"] |= {
        "class_vectors": {"my idea, source": vectors, "my idea, target": vectors},
        "pictures": {"masks": "What was masked", "never_drawn": "Nothing"},
    }
    torch.save(content, file)
    (folder / "pictures" / "masks").mkdir(parents=True)
    (folder / "pictures" / "masks" / "epoch_0001.png").write_bytes(
        (folder / "translations" / "epoch_0001.png").read_bytes()
    )
    run = read_run(str(folder))
    alts = [picture.alt for picture in relation_pictures(run)]
    assert alts == [
        "cosines between the classes, my idea, source",
        "cosines between the classes, my idea, target",
        "cosines between the classes of both domains, my idea, source and my idea, target",
    ]
    [picture] = relations_section(run).blocks[-1].pictures
    assert picture.caption == f"What was masked. {os.path.join('pictures', 'masks')}/epoch_0001.png"
