"""Training on several machines: one process of a group that torchrun or a cluster's scheduler has started.

    torchrun --nnodes 2 --nproc-per-node 4 ... -m nnuda.train 501 2d 0 -tr nnUDATrainerAdapt

What nnUNetv2_train -num_gpus does on one machine, with its options. documentation/how-to/several-nodes.md
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping

import torch
from batchgenerators.utilities.file_and_folder_operations import join
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.run.run_training import maybe_load_checkpoint
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from torch import distributed as dist
from torch import nn
from torch.backends import cudnn
from torch.nn.parallel import DistributedDataParallel

from nnuda.errors import NnudaError, one_message
from nnuda.files import read_json
from nnuda.training.distributed import from_first

GROUP = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


class LaunchError(NnudaError, RuntimeError):
    """Not one process of a group, or a group that cannot train."""


def build_parser() -> argparse.ArgumentParser:
    """nnUNetv2_train's options, without -num_gpus: who starts the processes says how many."""
    parser = argparse.ArgumentParser(
        prog="python -m nnuda.train",
        description="One process of a distributed training on one or several machines. Start it with torchrun.",
    )
    parser.add_argument("dataset", help="name or number of the source dataset")
    parser.add_argument("configuration", help="such as 2d or 3d_fullres")
    parser.add_argument("fold", help="0 to 4, or all")
    parser.add_argument("-tr", default="nnUNetTrainer", metavar="TRAINER", help="default: nnUNetTrainer")
    parser.add_argument("-p", default="nnUNetPlans", metavar="PLANS", help="default: nnUNetPlans")
    parser.add_argument("-pretrained_weights", metavar="FILE", help="a checkpoint of nnU-Net's to start from")
    parser.add_argument("--npz", action="store_true", help="save probabilities of the final validation")
    parser.add_argument("--c", action="store_true", help="continue from the latest checkpoint; without one, begin")
    parser.add_argument("--val", action="store_true", help="only validate; the training must be over")
    parser.add_argument("--val_best", action="store_true", help="validate with checkpoint_best.pth")
    parser.add_argument("--disable_checkpointing", action="store_true", help="keep no checkpoint")
    parser.add_argument(
        "-device", choices=("cuda", "cpu"), default="cuda", help="cuda talks over NCCL, cpu over gloo; default: cuda"
    )
    return parser


def check(args: argparse.Namespace, environment: Mapping[str, str]) -> None:
    """
    Args:
        args: the command's options.
        environment: of the process.

    Raises:
        LaunchError: no process of a group, options that exclude each other, or more processes than GPUs.
    """
    missing = [name for name in GROUP if name not in environment]
    if missing:
        raise LaunchError(
            "Expected a process of a group, started by torchrun; these environment variables are not set: "
            f"{', '.join(missing)}. On one machine use nnUNetv2_train; on several: torchrun --nnodes ... -m nnuda.train"
        )
    if not args.dataset.startswith("Dataset") and not args.dataset.isdecimal():
        raise LaunchError(f"dataset: expected a number or a name such as Dataset501_Heart; got {args.dataset!r}.")
    if args.fold != "all" and not args.fold.isdecimal():
        raise LaunchError(f"fold: expected a number from 0 on, or all; got {args.fold!r}.")
    for first, second in (("c", "val"), ("c", "pretrained_weights"), ("val_best", "disable_checkpointing")):
        if getattr(args, first) and getattr(args, second):
            raise LaunchError(f"Expected one of the options {first} and {second}; got both. Leave one out.")
    local = int(environment["LOCAL_RANK"])
    if args.device == "cuda" and local >= torch.cuda.device_count():
        raise LaunchError(
            f"Expected a GPU for each process of a machine; this is process {local} (from 0) of a machine with "
            f"{torch.cuda.device_count()} GPUs. Start as many processes as GPUs (--nproc-per-node), or use -device cpu."
        )


def on_own_device(trainer_class: type[nnUNetTrainer], device: torch.device) -> type[nnUNetTrainer]:
    """A trainer's class for one process of a group, under the same name.

    nnU-Net takes the rank in the group for the number of the GPU, which holds on one machine alone, and knows no DDP on
    a CPU. Its attribute `local_rank` stays the rank in the whole group: only the process of rank 0 writes what all share.

    Args:
        trainer_class: nnU-Net's, or any that derives from it.
        device: of this process.
    """

    class OnOwnDevice(trainer_class):
        @property
        def device(self) -> torch.device:
            """The process's, whatever nnU-Net makes of the rank."""
            return device

        @device.setter
        def device(self, value: torch.device) -> None:
            pass

        def configure_optimizers(self, *args, **kwargs):
            """The last that nnU-Net's initialize() does before it would wrap the network, with the rank for the GPU's
            number: wrapped here instead."""
            made = super().configure_optimizers(*args, **kwargs)
            if self.is_ddp and not self.was_initialized:
                network = nn.SyncBatchNorm.convert_sync_batchnorm(self.network)
                numbers = None if device.type == "cpu" else [device.index]
                self.network, self.is_ddp = DistributedDataParallel(network, device_ids=numbers), False
            return made

        def _build_loss(self):
            """The first that it does after that."""
            self.is_ddp = True
            return super()._build_loss()

    OnOwnDevice.__name__, OnOwnDevice.__qualname__ = trainer_class.__name__, trainer_class.__qualname__
    return OnOwnDevice


def make_trainer(args: argparse.Namespace, device: torch.device) -> nnUNetTrainer:
    """As nnU-Net's get_trainer_from_args, on the process's own device.

    Raises:
        LaunchError: there is no such trainer, or more processes than patches in a batch.
    """
    try:
        trainer_class = on_own_device(recursive_find_trainer_class_by_name(args.tr), device)
    except RuntimeError as error:
        raise LaunchError(f"-tr: {error}") from error
    dataset = args.dataset if args.dataset.startswith("Dataset") else int(args.dataset)
    folder = join(nnUNet_preprocessed, maybe_convert_to_dataset_name(dataset))
    plans = read_json(join(folder, f"{args.p}.json"), "a plan", remedy="Plan first, or correct -p.")
    trainer = trainer_class(
        plans={**plans, "continue_training": args.c},
        configuration=args.configuration,
        fold=args.fold if args.fold == "all" else int(args.fold),
        dataset_json=read_json(join(folder, "dataset.json"), "the dataset.json of the source"),
        device=device,
    )
    size, processes = trainer.configuration_manager.batch_size, dist.get_world_size()
    if size < processes:
        raise LaunchError(
            f"Expected at most as many processes as patches in a batch, {size} in {args.configuration} of {args.p}; got "
            f"{processes}. Start fewer, or plan for more memory (-gpu_memory_target)."
        )
    trainer.disable_checkpointing = args.disable_checkpointing
    return trainer


def load(trainer: nnUNetTrainer, args: argparse.Namespace) -> None:
    """The checkpoint to go on from, where one is asked for.

    Raises:
        LaunchError: the processes do not go on from the same epoch.
    """
    maybe_load_checkpoint(trainer, args.c, args.val, args.pretrained_weights)
    first = from_first(trainer.current_epoch)
    if trainer.current_epoch != first:
        raise LaunchError(
            f"Expected all processes to go on from one checkpoint; process 0 is in epoch {first}, process "
            f"{trainer.local_rank} in epoch {trainer.current_epoch}. All machines must see the same results folder, here "
            f"{trainer.output_folder}: put nnUNet_results on a file system that they share."
        )


def train(args: argparse.Namespace) -> None:
    """Join the group, train, validate, leave: nnU-Net's run_ddp."""
    check(args, os.environ)
    on_gpu = args.device == "cuda"
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if on_gpu else torch.device("cpu")
    torch.set_num_threads(1)
    if on_gpu:
        torch.cuda.set_device(device)
        cudnn.deterministic, cudnn.benchmark = False, True
    # the device is named, for NCCL would guess it from the rank
    dist.init_process_group("nccl" if on_gpu else "gloo", device_id=device if on_gpu else None)
    try:
        trainer = make_trainer(args, device)
        load(trainer, args)
        if not args.val:
            trainer.run_training()
        if args.val_best:
            trainer.load_checkpoint(join(trainer.output_folder, "checkpoint_best.pth"))
        trainer.perform_actual_validation(args.npz)
    finally:
        dist.destroy_process_group()


def main(arguments: list[str] | None = None) -> None:
    """The command. Errors as in every command of nnuda's."""
    args = build_parser().parse_args(arguments)
    with one_message():
        train(args)


if __name__ == "__main__":
    main()
