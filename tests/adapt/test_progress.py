"""What a training's output says about the time left."""

from __future__ import annotations

import pytest

from nnuda.stages.progress import EVERY_SECONDS, TrainingProgress, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.2, "4 s"), (99, "99 s"), (720, "12 min"), (11_100, "3 h 05 min"), (187_200, "2 d 4 h")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def lines(epoch: int, seconds: float) -> list[str]:
    """As nnU-Net prints them."""
    stamp = "2026-11-26 21:17:48.848212"
    return [f"{stamp}: Epoch {epoch} ", f"{stamp}: train_loss 0.4 ", f"{stamp}: Epoch time: {seconds} s "]


def test_the_time_left_follows_the_epochs_and_lines_are_few():
    said, now = [], [0.0]
    progress = TrainingProgress(5, said.append, lambda: now[0])
    for epoch, after in enumerate((0, 1, EVERY_SECONDS, EVERY_SECONDS + 1, EVERY_SECONDS + 2)):
        now[0] = after
        for line in lines(epoch, 10 * (epoch + 1)):
            progress(line)
    assert said == [
        "epoch 1 of 5, 10 s; at this pace 40 s left",
        "epoch 3 of 5, 30 s; at this pace 40 s left",
        "epoch 5 of 5, 50 s; now the validation on the source",
    ]


def test_a_continued_training_counts_from_its_epoch():
    said = []
    progress = TrainingProgress(100, said.append)
    for line in lines(90, 60.0):
        progress(line)
    assert said == ["epoch 91 of 100, 60 s; at this pace 9 min left"]


def test_an_alarm_is_passed_on():
    said = []
    TrainingProgress(2, said.append)(
        "2026-11-26 21:17:48.8: COLLAPSE ALARM on the target in epoch 3: liver has vanished"
    )
    assert said == ["COLLAPSE ALARM on the target in epoch 3: liver has vanished"]
