"""The option -device of commands that run a network."""

from __future__ import annotations

import argparse


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add -device."""
    parser.add_argument(
        "-device", "--device", choices=["cuda", "cpu", "mps"], help="default: cuda where there is one, else cpu"
    )


def device_of(args: argparse.Namespace) -> str:
    """The device that was given, else the GPU where there is one."""
    import torch

    return args.device or ("cuda" if torch.cuda.is_available() else "cpu")
