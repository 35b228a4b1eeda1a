"""The log says that scores are the source's, and how to go on."""

from __future__ import annotations

import inspect
import re

from nnunetv2.inference.predict_from_raw_data import predict_entry_point
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnuda.training.words import OF_SOURCE, on_the_source, predict_command


def test_every_score_that_nnunet_logs_says_source():
    lines = re.findall(r"print_to_log_file\(f?[\"']([^\"']*)", inspect.getsource(nnUNetTrainer))
    scores = [line for line in lines if re.search("dice|validation complete", line, re.IGNORECASE)]
    assert len(scores) == len(OF_SOURCE) == 4
    for line in scores:
        assert on_the_source(line).count("on the source") == 1, line
    for line in set(lines) - set(scores):
        assert on_the_source(line) == line
    assert on_the_source(0.5) == 0.5


def test_the_trainer_logs_so(monkeypatch, tmp_path, capsys):
    from nnuda.training.trainer import nnUDATrainer

    trainer = nnUDATrainer.__new__(nnUDATrainer)
    trainer.local_rank, trainer.log_file = 0, str(tmp_path / "log.txt")
    trainer.print_to_log_file("Pseudo dice", [0.5], add_timestamp=False)
    trainer.print_to_log_file("Mean Validation Dice: ", 0.25, add_timestamp=False)
    assert (tmp_path / "log.txt").read_text().split("\n")[:2] == [
        "Pseudo Dice on the source [0.5] ",
        "Mean Validation Dice on the source:  0.25 ",
    ]
    assert "on the source" in capsys.readouterr().out


def test_the_command_is_one_of_nnunets():
    known = set(re.findall(r"'(-[\w]+)'", inspect.getsource(predict_entry_point)))
    words = predict_command("Dataset501_Heart", "2d", "all", "nnUDATrainerUUDS", "Plans_b").split()
    assert {word for word in words if word.startswith("-")} <= known
    assert " -d 501 -c 2d -f all -tr nnUDATrainerUUDS -p Plans_b" in " ".join(words)
    assert "-p" not in predict_command("Dataset501_Heart", "2d", 0, "nnUDATrainerUUDS", "nnUNetPlans").split()
