"""Both domains in one stream, which nnU-Net's training loop draws from as from its own."""

from __future__ import annotations

import numpy as np
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter

from nnuda.data.target_loader import TargetLoader


def target_augmenter(
    loader: TargetLoader, processes: int, pin_memory: bool
) -> SingleThreadedAugmenter | NonDetMultiThreadedAugmenter:
    """The loader in this process (`processes` = 0) or in background processes, as nnU-Net does for the source."""
    if processes == 0:
        return SingleThreadedAugmenter(loader, None)
    # without seeds, forked processes repeat each other's torch numbers
    seeds = np.random.SeedSequence().generate_state(processes).tolist()
    return NonDetMultiThreadedAugmenter(
        data_loader=loader,
        transform=None,
        num_processes=processes,
        num_cached=max(3, processes),
        seeds=seeds,
        pin_memory=pin_memory,
        wait_time=0.002,
    )


class TwoDomainStream:
    """nnU-Net's source batch, with the target's views beside it under "target_domain".

    Args:
        source: nnU-Net's own training generator.
        target: what `target_augmenter` made.
        source_views: views of the source among the channels of its images, see `SourceViews`.
    """

    def __init__(self, source, target, source_views: int = 1) -> None:
        self.source = source
        self.target = target
        self.source_views = source_views

    def __iter__(self) -> TwoDomainStream:
        return self

    def __next__(self) -> dict:
        return {**next(self.source), "source_views": self.source_views, "target_domain": next(self.target)}


def finish(stream: object, timeout: float = 10) -> None:
    """End the background processes of a stream or augmenter; None and one without any are left as they are.

    Args:
        stream: as nnU-Net's loop draws from.
        timeout: seconds until they are ended by force.
    """
    for augmenter in (stream.source, stream.target) if isinstance(stream, TwoDomainStream) else (stream,):
        if isinstance(augmenter, NonDetMultiThreadedAugmenter):
            augmenter._finish(timeout)
