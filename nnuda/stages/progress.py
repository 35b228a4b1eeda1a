"""How far a training is, by what nnUNetv2_train prints."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable

RECENT = 10  # epochs whose mean tells the time left: later epochs may cost more, once the target's terms are on
EVERY_SECONDS = 30
_EPOCH = re.compile(r": Epoch (\d+) *$")
_TIME = re.compile(r"Epoch time: ([\d.]+) s")


def duration(seconds: float) -> str:
    """For a reader: 40 s, 12 min, 3 h 05 min, 2 d 4 h."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


class TrainingProgress:
    """Called with each line of a training's output; says after an epoch which, and how long the rest will take.

    Args:
        epochs: of the whole training.
        say: prints a line.
        clock: in seconds.
        every: a line at most after so many seconds.
        validated: what the training is validated on at its end.
    """

    def __init__(
        self,
        epochs: int,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        every: float = EVERY_SECONDS,
        validated: str = "the source",
    ) -> None:
        self.validated = validated
        self.epochs, self.say, self.clock, self.every = epochs, say, clock, every
        self.epoch: int | None = None
        self.seconds: deque[float] = deque(maxlen=RECENT)
        self.said: float | None = None

    def __call__(self, line: str) -> None:
        if found := _EPOCH.search(line):
            self.epoch = int(found[1])
        elif (found := _TIME.search(line)) and self.epoch is not None:
            self.seconds.append(float(found[1]))
            self._after_epoch()
        elif "COLLAPSE ALARM" in line:
            self.say(line.partition(": ")[2].strip() or line)

    def _after_epoch(self) -> None:
        left, now = self.epochs - self.epoch - 1, self.clock()
        if self.said is not None and left > 0 and now - self.said < self.every:
            return
        self.said = now
        mean = sum(self.seconds) / len(self.seconds)
        rest = (
            f"; at this pace {duration(left * mean)} left" if left > 0 else f"; now the validation on {self.validated}"
        )
        self.say(f"epoch {self.epoch + 1} of {self.epochs}, {self.seconds[-1]:.0f} s{rest}")
