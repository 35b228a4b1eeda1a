"""The base trainer: nnU-Net's, with a second, unlabelled domain."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from io import BytesIO
from typing import Any

import torch
from batchgenerators.utilities.file_and_folder_operations import isfile, join
from nnunetv2.paths import nnUNet_results
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class, nnUNetBaseDataset
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerDA5 import nnUNetTrainerDA5
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA
from torch import Tensor, autocast, nn
from torch import distributed as dist
from torch.optim import Optimizer

from nnuda.case_files import read_splits
from nnuda.data.domain_batch import SourceBatch, TargetBatch, to_device
from nnuda.data.mixing import paste_boxes
from nnuda.data.stream import TwoDomainStream, finish, target_augmenter
from nnuda.data.strong_augmentation import Strength
from nnuda.data.target_loader import TargetLoader
from nnuda.data.target_style import in_target_style
from nnuda.data.views import SourceViews, TwoViews, quarter_turns, with_strong_augmentation
from nnuda.errors import (
    NnudaError,
    UnsupportedError,
    one_message_in_nnunet,
    runs_nnunet,
    say_errors_in_one_message,
)
from nnuda.files import LOCK, locked, replacing, sweep, write_json
from nnuda.labels import certain_logits, class_names
from nnuda.losses.confident_pseudo_label import confident_pseudo_label_loss, deeply_supervised
from nnuda.plan_key import KEY, plans_with_target_normalization, target_folder
from nnuda.processes import WorkerDied, workers_end_with_us
from nnuda.results import LOGGED, PLANS, PLANS_SOURCE, find_checkpoint, load_checkpoint
from nnuda.selection.agreement import mirrored
from nnuda.selection.history import CHECKPOINT as SELECTED
from nnuda.selection.history import FILE as SELECTION_FILE
from nnuda.settings import INIT_FROM
from nnuda.statistics.class_confidence import ClassConfidence
from nnuda.training.checkpoint import (
    STATE,
    bare,
    move_earlier_aside,
    random_states,
    read_to_continue,
    refuse_to_train_again,
    require_own,
    vectors_on_cpu,
    weights_of,
    write_checkpoint,
)
from nnuda.training.cost import MEMORY_GB, STEP_SECONDS, StepCost
from nnuda.training.curves import EpochMeans, plot_curves
from nnuda.training.distributed import average_gradients, broadcast_from_first, split_batch
from nnuda.training.divergence import Divergence
from nnuda.training.forward import forward_together
from nnuda.training.frozen import freeze, frozen_classes, refuse_other_configuration
from nnuda.training.init_from import check_pretrained_weights, init_from
from nnuda.training.loss_terms import LossTerm, check_losses, check_name, loss_terms, term_names
from nnuda.training.optimizers import GroupPolySchedule, steps_on_cpu
from nnuda.training.outputs import DomainOutputs, finest
from nnuda.training.pictures import FOLDER as PICTURES
from nnuda.training.pictures import Drawing
from nnuda.training.preprocessed import PreprocessedError, require_cases, require_data
from nnuda.training.random_state import seed_everything, set_random_state
from nnuda.training.selecting import LOGGED as SELECTION
from nnuda.training.selecting import SCORES, EpochSelection, Predict
from nnuda.training.teacher import EmaTeacher, decay_for
from nnuda.training.words import on_the_source, predict_command

GO_ON = "Add --c to go on from the last checkpoint."
SECONDS_TO_END = 3  # for background workers, after an error or a signal

if runs_nnunet():  # not in a notebook, a test or a script of the user's
    say_errors_in_one_message()


class nnUDATrainer(nnUNetTrainer):
    """nnU-Net's trainer with an unlabelled target domain: base of every method.

    A method gives `preset` and implements `adaptation_losses`; where its paper needs it, it overrides `source_loss`,
    `forward_domains`, `build_modules`, `build_statistics`, `configure_adaptation_optimizers`, or `configure_adversary`
    with `adversary_losses`. With every weight 0 this is nnUNetTrainer, step for step.
    """

    preset = "base"
    # Process time of a step with the preset's own settings, once all terms are on, against nnU-Net's on the same plan,
    # where it was measured: 2D, patches of 96 x 96, batch 8, one CPU thread (the method's page, "Cost")
    step_time: float | None = None
    teacher_terms = ("teacher",)  # terms that read the EMA teacher, which restarts when the first of them begins

    @one_message_in_nnunet(GO_ON)
    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),
    ):
        if configuration not in plans["configurations"]:
            raise NnudaError(
                f"Expected a configuration of the plan {plans['plans_name']}: "
                f"{', '.join(plans['configurations'])}; got {configuration}."
            )
        folder, self.continues = None, bool(plans.get("continue_training", False))
        if nnUNet_results.is_set():  # as nnUNetTrainer.__init__ names it, which already writes there
            folder = join(
                nnUNet_results, plans["dataset_name"], f"{type(self).__name__}__{plans['plans_name']}__{configuration}"
            )
        self.settings = freeze(plans, self.preset, dataset_json, folder)
        if folder is not None:
            refuse_other_configuration(plans, configuration, folder, self.reads_class_embeddings(self.settings))
        self.check(self.settings, class_names(dataset_json))
        self.read_plan(plans, dataset_json)
        trained = folder is not None and isfile(join(folder, f"fold_{fold}", "checkpoint_final.pth"))
        if self.settings[INIT_FROM] and not (trained or self.continues):
            find_checkpoint(self.settings[INIT_FROM], option=INIT_FROM)
        super().__init__(plans, configuration, fold, dataset_json, device)
        if self.is_cascaded:
            raise UnsupportedError(
                "nnuda does not adapt the cascade's second stage. Train 2d, 3d_fullres or 3d_lowres."
            )

        ### Some hyperparameters for you to fiddle with (with nnUDA_configure --set training.<name>=...)
        self.initial_lr = self.settings["training.initial_lr"]
        self.num_epochs = self.settings["training.num_epochs"]
        self.num_iterations_per_epoch = self.settings["training.num_iterations_per_epoch"]
        self.num_val_iterations_per_epoch = self.settings["training.num_val_iterations_per_epoch"]
        self.save_every = self.settings["training.save_every"]

        self.loss_terms = self.configure_loss_terms()
        self.known_terms = [*term_names(self.settings), *self.loss_terms]
        self.target = self.plans_manager.plans[KEY]["target"]
        self.teacher: EmaTeacher | None = None
        self.class_confidence: ClassConfidence | None = None
        self.extra_modules, self.statistics, self.adversary = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        self.adversary_optimizer: Optimizer | None = None
        self.batch_size_target = 0
        self.step_in_epoch = 0
        self.checked_terms: set[str] | None = None
        self.strength = Strength()
        self.epoch_means, self.cost = EpochMeans(self.device), StepCost(self.device)
        self.divergence = Divergence(
            self.num_iterations_per_epoch,
            f"Lower training.initial_lr (it is {self.initial_lr}) in a plan of its own: nnUDA_configure -d "
            f"{self.plans_manager.dataset_name} -p {self.plans_manager.plans_name} --as NAME --set "
            "training.initial_lr=... Where it is so from the first step on, look for NaN, infinite or absurd voxels. "
            "Checkpoints that were written before are whole.",
        )
        self.selection = EpochSelection(
            self.settings,
            frozen_classes(self.plans_manager.plans),
            self.label_manager,
            self.output_folder,
            self.print_to_log_file,
        )
        self.resumed = False
        self.resumed_random_state: dict | None = None
        for name in self.logged_names():
            self.logger.local_logger.my_fantastic_logging[LOGGED + name] = []
        self.print_to_log_file(
            f"labelled source {self.plans_manager.dataset_name} -> unlabelled target "
            f"{self.target['name']}, loss terms: {', '.join(['source', *self.loss_terms])}",
            add_timestamp=False,
        )

    # ---- what planning asks the class -------------------------------------------------------------------------------

    @classmethod
    def memory_factor(cls, settings: dict[str, Any]) -> float:
        """Memory of a step with these effective settings, of a whole batch of each domain, against nnU-Net's."""
        return settings["planning.memory_factor"]

    @classmethod
    def reads_class_embeddings(cls, settings: dict[str, Any]) -> bool:
        """Whether a training with these effective settings needs the plan's class embeddings."""
        return False

    @classmethod
    def check(cls, settings: dict[str, Any], class_names: list[str]) -> None:
        """Raise a SettingsError where effective settings do not go together, or not with the classes (background
        first, then as the network orders them). Planning asks before long work, training before its folder exists."""

    # ---- what a method says -----------------------------------------------------------------------------------------

    def read_plan(self, plans: dict, dataset_json: dict) -> None:
        """What a method reads of its plan besides the settings; raises before the results folder is touched."""

    def adaptation_losses(self, source: SourceBatch, target: TargetBatch, outputs: DomainOutputs) -> dict[str, Tensor]:
        """The method's terms, unweighted, by name; compute only those that are `active`. In fp32:
        autocast is off here."""
        return {}

    def source_loss(self, logits: Tensor | list[Tensor], source: SourceBatch) -> Tensor:
        """Supervised loss on the source; nnU-Net's."""
        return self.loss(logits, source.label)

    def forward_domains(self, source: SourceBatch, target: TargetBatch) -> DomainOutputs:
        """One concatenated forward; one per domain where BatchNorm would mix their statistics."""
        return DomainOutputs(*forward_together(self.network, [source.image, target.image]))

    def build_modules(self) -> nn.ModuleDict:
        """Trainable modules beside the network: optimised, clipped, averaged over ranks and
        checkpointed by the base."""
        return nn.ModuleDict()

    def build_statistics(self) -> nn.ModuleDict:
        """Running state without gradients (nnuda.statistics): checkpointed by the base."""
        return nn.ModuleDict()

    def configure_adversary(self) -> tuple[nn.ModuleDict, Optimizer | None]:
        """Discriminators and their optimiser; they are checkpointed by the base and never predict."""
        return nn.ModuleDict(), None

    def adversary_losses(self, source: SourceBatch, target: TargetBatch, outputs: DomainOutputs) -> dict[str, Tensor]:
        """What the discriminators minimise, by name; on detached outputs, in fp32."""
        return {}

    def class_vectors(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Vectors of the classes that the report compares, by title: (K, A), and of which classes there is one, (K,)
        bool. Titles that end with "source" and "target" are compared with each other. Those of the statistics."""
        return {
            name.replace("_", " "): module.class_vectors()
            for name, module in self.statistics.items()
            if hasattr(module, "class_vectors")
        }

    def pictures(self) -> dict[str, Drawing]:
        """Pictures for the report, by a name that is fit for a folder. Drawn each `<preset>.pictures.every` epochs."""
        return {}

    def configure_loss_terms(self) -> dict[str, LossTerm]:
        """Terms with a weight above 0."""
        return loss_terms(self.settings)

    def configure_adaptation_optimizers(self) -> tuple[Any, Any]:
        """Optimiser and schedule while adapting: nnU-Net's, for the network and the modules beside it."""
        optimizer, schedule = super().configure_optimizers()
        if len(self.extra_modules):
            optimizer.add_param_group({"params": list(self.extra_modules.parameters())})
        return optimizer, schedule

    # ---- setting up -------------------------------------------------------------------------------------------------

    @property
    def adapts(self) -> bool:
        """Whether any term, or the style of source images, reads target images. If not, this is nnU-Net's own
        training."""
        return bool(self.loss_terms) or self.settings["augmentation.style"] != "none"

    @one_message_in_nnunet(GO_ON)
    def initialize(self) -> None:
        """nnU-Net's, then the teacher."""
        require_data(self.preprocessed_dataset_folder, self.configuration_name, self.preprocess_command)
        if self.settings["training.seed"] is not None:
            seed_everything(self.settings["training.seed"] + self.local_rank)
        super().initialize()
        if self.needs_teacher():
            decay = self.settings["teacher.decay"]
            decay = decay_for(self.num_epochs * self.num_iterations_per_epoch) if decay == "auto" else decay
            self.teacher = EmaTeacher(self.bare_network, decay).to(self.device)
        check_pretrained_weights(self.bare_network)

    def needs_teacher(self) -> bool:
        """Whether anything reads the EMA teacher."""
        terms = any(name in self.loss_terms for name in self.teacher_terms)
        return terms or self.settings["training.predict_with"] == "teacher"

    def load_initial_weights(self) -> None:
        """Weights that a new training starts from, besides nnU-Net's random ones."""
        if self.settings[INIT_FROM]:
            self.print_to_log_file(init_from(self.bare_network, self.settings[INIT_FROM]))

    def configure_optimizers(self) -> tuple[Any, Any]:
        """nnU-Net's own while nothing adapts."""
        if not self.adapts:
            return super().configure_optimizers()
        self.extra_modules = self.build_modules().to(self.device)
        self.statistics = self.build_statistics().to(self.device)
        if "teacher" in self.loss_terms and self.settings["teacher.threshold"] == "class":
            self.class_confidence = ClassConfidence(
                self.label_manager.num_segmentation_heads,
                self.settings["teacher.confidence"],
                self.settings["teacher.threshold_floor"],
            ).to(self.device)
        self.adversary, self.adversary_optimizer = self.configure_adversary()
        self.adversary.to(self.device)
        if self.adversary_optimizer is not None:
            self.adversary_schedule = GroupPolySchedule(self.adversary_optimizer, self.num_epochs)
        if self.is_ddp:
            for module in (self.extra_modules, self.adversary):
                broadcast_from_first(module)
        return self.configure_adaptation_optimizers()

    @property
    def bare_network(self) -> nn.Module:
        """The network without its DDP and compile wrappers."""
        return bare(self.network)

    def _set_batch_size_and_oversample(self) -> None:
        super()._set_batch_size_and_oversample()
        if self.adapts:
            full = self.batch_size
            self.batch_size, self.batch_size_target = split_batch(full, self.settings["training.batch"])
            if self.batch_size == 1 < full:  # nnU-Net oversamples the last third of a batch: of one patch none
                self.probabilistic_oversampling = True

    def get_training_transforms(self, *args, **kwargs):
        """nnU-Net's, or those of its nnUNetTrainerDA5; with the strong transforms where the setting asks for them."""
        trainer = nnUNetTrainerDA5 if self.settings["training.augmentation"] == "da5" else nnUNetTrainer
        pipeline = with_strong_augmentation(
            trainer.get_training_transforms(*args, **kwargs), self.settings, self.strength
        )
        return SourceViews(pipeline) if self.reads_weak_source and self.adapts else pipeline

    @property
    def reads_weak_source(self) -> bool:
        """Whether a source batch is to hold a weak view (`SourceBatch.weak`) beside the augmented one."""
        return False

    @property
    def preprocess_command(self) -> str:
        """What makes the preprocessed cases of both domains."""
        plans = self.plans_manager
        return f"nnUDA_preprocess -d {plans.dataset_name} -p {plans.plans_name} -c {self.configuration_name}"

    def get_tr_and_val_datasets(self) -> tuple[nnUNetBaseDataset, nnUNetBaseDataset]:
        """nnU-Net's, looked at before a background worker stumbles.

        Raises:
            PreprocessedError, FileError: a case is not whole, or the splits are damaged.
        """
        splits = join(self.preprocessed_dataset_folder_base, "splits_final.json")
        if self.fold != "all" and isfile(splits):
            read_splits(splits)
        training, validation = super().get_tr_and_val_datasets()
        remedy = f"Run: {self.preprocess_command}, or take these cases out of splits_final.json."
        for cases, use in ((training, "training"), (validation, "validation")):
            require_cases(cases, f"preprocessed source cases for {use} in fold {self.fold}", remedy)
        return training, validation

    def get_dataloaders(self) -> tuple[Any, Any]:
        """nnU-Net's for the source; a stream of both domains where a term needs the target."""
        self.set_strength()  # before the first batch is drawn
        if self.adapts:
            self.target_dataset()  # before a process is started that would have to be ended
        with workers_end_with_us():
            source, validation = super().get_dataloaders()
            if not self.adapts:
                return source, validation
            processes = get_allowed_n_proc_DA()
            target = target_augmenter(
                self.target_loader(),
                processes if processes == 0 else max(1, processes // 2),
                self.device.type == "cuda",
            )
            next(target)
        return TwoDomainStream(source, target, 2 if self.reads_weak_source else 1), validation

    def target_dataset(self) -> nnUNetBaseDataset:
        """The target's preprocessed cases.

        Raises:
            PreprocessedError: not as many as were planned, or not whole.
        """
        folder = join(target_folder(self.plans_manager.plans[KEY]), self.configuration_manager.data_identifier)
        dataset = infer_dataset_class(folder)(folder) if os.path.isdir(folder) and os.listdir(folder) else None
        found, planned = 0 if dataset is None else len(dataset.identifiers), self.target["num_cases"]
        if found != planned:
            raise PreprocessedError(
                f"Expected {planned} preprocessed cases of the target {self.target['name']} in "
                f"{folder}; found {found}. Run: {self.preprocess_command}"
            )
        what = f"the preprocessed cases of the target {self.target['name']}"
        require_cases(dataset, what, f"Run: {self.preprocess_command}")
        return dataset

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self):
        """nnU-Net's; `augmentation.mirroring` says whether patches, and later predictions, are mirrored."""
        rotation, dummy_2d, initial_patch, mirror_axes = (
            super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        )
        mirroring = self.settings["augmentation.mirroring"]
        axes = self.plans_manager.transpose_forward[-len(self.configuration_manager.patch_size) :]
        sided = bool(set(axes) & set(self.settings["planning.sided_axes"]))
        if mirroring == "none" or (mirroring == "planned" and sided):
            mirror_axes = self.inference_allowed_mirroring_axes = None
        return rotation, dummy_2d, initial_patch, mirror_axes

    def target_loader(self) -> TargetLoader:
        """Patches of the target in two views, through nnU-Net's own transforms."""
        rotation, dummy_2d, initial_patch, mirror_axes = (
            self.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        )
        patch_size, turns = self.configuration_manager.patch_size, None
        if self.settings["augmentation.target_geometry"] == "quarters":
            initial_patch, turns = patch_size, quarter_turns(patch_size, rotation, dummy_2d)
        pipeline = self.get_training_transforms(
            patch_size,
            rotation,
            None,
            mirror_axes,
            dummy_2d,
            use_mask_for_norm=self.target["normalization"]["use_mask_for_norm"],
        )
        return TargetLoader(
            self.target_dataset(),
            self.batch_size_target,
            initial_patch,
            patch_size,
            self.label_manager,
            transforms=TwoViews(pipeline, turns),
        )

    def on_train_start(self) -> None:
        """nnU-Net's; then initial weights, the frozen configuration, and the random state of a resumed training.

        Raises:
            CheckpointError: a finished training is here, and this one does not go on with it.
        """
        if not self.resumed:
            refuse_to_train_again(self.output_folder)
        if not self.was_initialized:
            self.initialize()
        if not self.resumed:
            self.load_initial_weights()
            if self.teacher is not None:  # its first labels come before its first update
                self.teacher.network.load_state_dict(self.bare_network.state_dict())
        super().on_train_start()
        if self.local_rank == 0:
            for folder in (self.output_folder_base, self.output_folder):
                sweep(folder)
        if self.is_ddp:
            dist.barrier()  # nnU-Net's own plans.json of every rank lies before ours replaces it
        if self.local_rank == 0:  # processes of two machines may have the same number, and with it the file aside
            plans = self.plans_manager.plans
            write_json(plans, join(self.output_folder_base, PLANS_SOURCE))
            write_json(plans_with_target_normalization(plans), join(self.output_folder_base, PLANS))
        self.start_selection()
        if self.local_rank == 0 and not self.resumed:
            aside = move_earlier_aside(self.output_folder, SELECTION_FILE)
            if aside is not None:
                self.print_to_log_file(
                    f"NOTE: an unfinished training was here; its checkpoints are in {aside} now. Remove them when they "
                    "are no longer needed."
                )
        for name in (STEP_SECONDS, MEMORY_GB):
            self.logger.local_logger.my_fantastic_logging.setdefault(name, [math.nan] * self.current_epoch)
        if self.resumed_random_state is not None:  # after get_dataloaders has drawn its first batches
            set_random_state(self.resumed_random_state)
        goes_on = self.resumed and not self.disable_checkpointing
        if goes_on and self.selection.lost_to_an_interruption(self.current_epoch - 1):
            self.keep_selected(self.current_epoch - 1)

    # ---- running ----------------------------------------------------------------------------------------------------

    def alone(self) -> AbstractContextManager:
        """Keeps other trainings out of this fold's folder.

        Raises:
            LockedError: there is one.
        """
        if self.local_rank != 0:
            return nullcontext()
        return locked(join(self.output_folder, LOCK), f"the results folder {self.output_folder}")

    @one_message_in_nnunet(GO_ON)
    def run_training(self) -> None:
        """nnU-Net's, alone in its folder. However it ends, no background worker is left.

        Raises:
            WorkerDied, NnudaError: for nnU-Net's own words about a lost worker and torch's about the GPU's memory.
        """
        with self.alone():
            try:
                super().run_training()
            except BaseException as error:
                for stream in (self.dataloader_train, self.dataloader_val):
                    finish(stream, SECONDS_TO_END)
                known = explained(error)
                if known is None:
                    raise
                raise known from error

    # ---- one step ---------------------------------------------------------------------------------------------------

    @property
    def progress(self) -> float:
        """Share of the training that is over, in [0, 1)."""
        return (self.current_epoch + self.step_in_epoch / self.num_iterations_per_epoch) / self.num_epochs

    def active(self, name: str) -> bool:
        """Whether a term has a weight above 0 in this step.

        Raises:
            LossTermError: the preset has no such term.
        """
        check_name(name, self.known_terms, self.preset)
        return name in self.loss_terms and self.loss_terms[name].weight_at(self.progress) > 0

    def begins(self, name: str) -> bool:
        """Whether a term is on from this step on."""
        if name not in self.loss_terms:
            return False
        step = 1 / (self.num_epochs * self.num_iterations_per_epoch)
        return self.progress - step < self.loss_terms[name].start <= self.progress

    @property
    def teacher_begins(self) -> bool:
        """Whether the first term that reads the teacher is on from this step on."""
        terms = [name for name in self.teacher_terms if name in self.loss_terms]
        return bool(terms) and self.begins(min(terms, key=lambda name: self.loss_terms[name].start))

    def train_step(self, batch: dict) -> dict:
        """One step on both domains; nnU-Net's own while nothing adapts."""
        if self.teacher_begins and self.settings["teacher.restart"]:
            self.teacher.restart(self.bare_network)
        if not self.adapts:
            result = super().train_step(batch)
        else:
            result = self.adaptation_step(*to_device(batch, self.device))
        if self.teacher is not None:
            self.teacher.update(self.bare_network)
        self.step_in_epoch += 1
        self.divergence.see(result["loss"], self.current_epoch)
        return result

    @property
    def reads_target(self) -> bool:
        """Whether anything looks at the target in this step."""
        return self.adversary_optimizer is not None or any(self.active(name) for name in self.loss_terms)

    def adaptation_step(self, source: SourceBatch, target: TargetBatch) -> dict:
        """Forward both domains, sum the weighted terms, update; before any term is active, the source alone."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.settings["augmentation.style"] != "none":
            source = replace(source, image=self.in_target_style(source.image, target.weak))
        if not self.reads_target:
            target = target.without_images()
        elif self.active("teacher") and self.settings["teacher.mixing"] > 0:
            mixed = paste_boxes(
                source.image, target.image, self.settings["teacher.mixing_box"], self.settings["teacher.mixing"]
            )
            target = replace(target, image=mixed.image, from_source=mixed.from_source)
        with self.mixed_precision():
            outputs = self.forward_domains(source, target)
            losses = {"source": self.source_loss(outputs.source, source)}
        with self.mixed_precision(enabled=False):
            terms = self.adaptation_losses(source, target, outputs)
            self.check_terms(terms)
            losses |= terms
            losses |= self.teacher_loss(source, target, outputs)
        total = sum(loss * self.weight(name) for name, loss in losses.items())
        self.update(total)
        losses |= self.adversary_step(source, target, outputs)
        for name, loss in losses.items():
            self.epoch_means.update(name, loss)
        result = total.detach().cpu().numpy()
        if not math.isfinite(result):
            self.divergence.terms = [name for name, loss in losses.items() if not loss.isfinite().all()]
        return {"loss": result}

    def in_target_style(self, image_s: Tensor, image_t: Tensor) -> Tensor:
        """Source images (B, Cin, *S), a share of them with the histogram or the low frequencies of a target image."""
        return in_target_style(
            image_s,
            image_t,
            *(self.settings[f"augmentation.{name}"] for name in ("style", "style_probability", "style_band")),
            self.configuration_manager.use_mask_for_norm,
            self.target["normalization"]["use_mask_for_norm"],
        )

    def check_terms(self, terms: dict[str, Tensor]) -> None:
        """Compare what `adaptation_losses` returned with the active terms, in the first step and whenever these change.

        Raises:
            LossTermError: a term too many or too few, or one that nothing can learn from.
        """
        active = {name for name in self.loss_terms if name != "teacher" and self.active(name)}
        if active != self.checked_terms:
            check_losses(terms, active, self.known_terms, self.preset)
            self.checked_terms = active

    def weight(self, name: str) -> float:
        """Present weight of a term; the source's is 1."""
        return 1.0 if name == "source" else self.loss_terms[name].weight_at(self.progress)

    def teacher_loss(self, source: SourceBatch, target: TargetBatch, outputs: DomainOutputs) -> dict[str, Tensor]:
        """The common term: the EMA teacher's confident pseudo-labels of the weak view, learnt on the strong view."""
        if not self.active("teacher"):
            return {}
        logits, regions = self.teacher_logits(target, outputs).float(), self.label_manager.has_regions
        confidence = self.settings["teacher.confidence"]
        if self.class_confidence is not None:
            self.class_confidence.update(logits.sigmoid() if regions else logits.softmax(1), regions)
            confidence = self.class_confidence.compute()
        if target.from_source is not None:
            pairs, pasted = min(len(source.image), len(logits)), logits.clone()
            pasted[:pairs] = certain_logits(finest(source.label)[:pairs], self.label_manager)
            logits = torch.where(target.from_source[:, None], pasted, logits)
        if self.settings["teacher.deep_supervision"] and isinstance(outputs.target, list):
            return {"teacher": deeply_supervised(outputs.target, logits, self.loss.weight_factors, confidence, regions)}
        return {"teacher": confident_pseudo_label_loss(finest(outputs.target), logits, confidence, regions)}

    def teacher_logits(self, target: TargetBatch, outputs: DomainOutputs) -> Tensor:
        """(B, C, *S), what the teacher makes of the weak view: one forward in a step, whichever terms ask."""
        if "teacher_logits" not in outputs.extra:
            with self.mixed_precision():
                outputs.extra["teacher_logits"] = self.teacher(target.weak)
        return outputs.extra["teacher_logits"]

    def mixed_precision(self, enabled: bool = True) -> AbstractContextManager:
        """nnU-Net's autocast on a GPU, nothing elsewhere; losses run with enabled=False."""
        return autocast(self.device.type, enabled=enabled) if self.device.type == "cuda" else nullcontext()

    def update(self, total: Tensor) -> None:
        """Backward, average over ranks, unscale, clip, step."""
        beside = list(self.extra_modules.parameters())
        scaler = self.grad_scaler
        (total if scaler is None else scaler.scale(total)).backward()
        if self.is_ddp:
            average_gradients(beside)
        if scaler is not None:
            scaler.unscale_(self.optimizer)
        for parameters in (self.network.parameters(), beside):
            nn.utils.clip_grad_norm_(parameters, self.settings["training.gradient_clip"])
        if scaler is None:
            self.optimizer.step()
        else:
            scaler.step(self.optimizer)
            scaler.update()

    def adversary_step(self, source: SourceBatch, target: TargetBatch, outputs: DomainOutputs) -> dict[str, Tensor]:
        """The discriminators' turn: their losses for the log, after one step on them."""
        if self.adversary_optimizer is None:
            return {}
        self.adversary_optimizer.zero_grad(set_to_none=True)  # the network's losses passed through them
        with self.mixed_precision(enabled=False):
            losses = self.adversary_losses(source, target, outputs)
        if losses:
            sum(losses.values()).backward()
            parameters = list(self.adversary.parameters())
            if self.is_ddp:
                average_gradients(parameters)
            norm = nn.utils.clip_grad_norm_(parameters, self.settings["training.gradient_clip"])
            if norm.isfinite():  # what they look at comes out of autocast, and no scaler skips their step
                self.adversary_optimizer.step()
        return losses

    # ---- epochs and logging -----------------------------------------------------------------------------------------

    def logged_names(self) -> list[str]:
        """Names of the curves: the source's loss and each term that is on."""
        return ["source", *self.loss_terms] if self.adapts else []

    def on_train_epoch_start(self) -> None:
        """nnU-Net's; a new epoch's means."""
        super().on_train_epoch_start()
        if self.adversary_optimizer is not None:
            self.adversary_schedule.step(self.current_epoch)
        self.step_in_epoch = 0
        self.set_strength()
        self.epoch_means.reset()
        self.cost.start()

    def set_strength(self) -> None:
        """The strong augmentation is on for the first `augmentation.until` of the epochs."""
        on = self.current_epoch < self.settings["augmentation.until"] * self.num_epochs
        self.strength.share = 1.0 if on else 0.0

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        """nnU-Net's; log each term's mean, NaN for one that was off.

        Raises:
            DivergedError: weights are not finite.
        """
        self.divergence.check_weights(self.bare_network, self.current_epoch)
        for name, value in self.cost.compute(self.num_iterations_per_epoch).items():
            self.logger.log(name, value, self.current_epoch)
        super().on_train_epoch_end(train_outputs)
        self.step_in_epoch = 0
        if self.logged_names():
            means = self.epoch_means.compute(self.logged_names())
            for name, value in means.items():
                self.logger.log(LOGGED + name, value, self.current_epoch)
            self.print_to_log_file("loss terms", {name: round(value, 4) for name, value in means.items()})
        if self.adapts and self.local_rank == 0:
            self.draw_pictures()

    def draw_pictures(self) -> None:
        """Draw what the method offers, where this epoch's turn is, or the last one's."""
        epoch, every = self.current_epoch, self.settings.get(f"{self.preset}.pictures.every", 10)
        if epoch % every == 0 or epoch == self.num_epochs - 1:
            for name, drawing in self.pictures().items():
                folder = join(self.output_folder, PICTURES, name)
                os.makedirs(folder, exist_ok=True)
                drawing.draw(join(folder, f"epoch_{epoch:04d}.png"))

    def on_epoch_end(self) -> None:
        """nnU-Net's; the scores on the target; draw the curves."""
        if self.selection.rule is not None:
            dice = float(self.logger.get_value("mean_fg_dice", step=-1))
            scores = self.selection.score(
                self.current_epoch, dice, *self.predictions(), self.local_rank == 0, self.device
            )
            for name, value in scores.items():
                self.logger.log(SELECTION + name, value, self.current_epoch)
        super().on_epoch_end()
        if self.selection.rule is not None:
            self.keep_epoch()
        if self.local_rank == 0 and self.logged_names():
            logged = self.logger.local_logger.my_fantastic_logging
            plot_curves({name: logged[LOGGED + name] for name in self.logged_names()}, self.output_folder)

    def on_train_end(self) -> None:
        """nnU-Net's; end the target's processes too."""
        super().on_train_end()
        finish(self.dataloader_train)

    @contextmanager
    def on_source_images(self) -> Iterator[None]:
        """nnU-Net validates on the source: a network that tells the domains apart (`domain`) is told so,
        as while adapting."""
        tells = self.adapts and hasattr(self.bare_network, "domain")
        if tells:
            self.bare_network.domain = "source"
        try:
            yield
        finally:
            if tells:
                self.bare_network.domain = "target"

    def on_validation_epoch_start(self) -> None:
        """nnU-Net's, with the weights that prediction will use: checkpoint_best.pth stores them."""
        self.validating = ExitStack()
        self.validating.enter_context(self.prediction_weights())
        super().on_validation_epoch_start()

    def on_validation_epoch_end(self, val_outputs: list[dict]) -> None:
        """nnU-Net's; the student's weights again."""
        super().on_validation_epoch_end(val_outputs)
        self.validating.close()

    def validation_step(self, batch: dict) -> dict:
        """nnU-Net's."""
        with self.on_source_images():
            return super().validation_step(batch)

    @one_message_in_nnunet("The validation can be repeated with --val.")
    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """nnU-Net's, with the weights that prediction will use."""
        with self.alone(), self.prediction_weights(), self.on_source_images():
            super().perform_actual_validation(save_probabilities)
        dataset, plans = self.plans_manager.dataset_name, self.plans_manager.plans_name
        words = predict_command(dataset, self.configuration_name, self.fold, type(self).__name__, plans)
        if self.local_rank == 0:
            self.print_to_log_file(f"Next, target images:\n  {words}")

    def print_to_log_file(self, *args: Any, also_print_to_console: bool = True, add_timestamp: bool = True) -> None:
        """nnU-Net's; scores that are the source's say so."""
        super().print_to_log_file(
            *map(on_the_source, args), also_print_to_console=also_print_to_console, add_timestamp=add_timestamp
        )

    # ---- selection without target labels ----------------------------------------------------------------------------

    def start_selection(self) -> None:
        """Let the selection read its patches, where epochs are to be scored and the target was preprocessed."""
        if not self.settings["selection.enabled"]:
            return
        domains = self.domains_to_score() if self.local_rank == 0 else None
        self.selection.start(
            domains,
            self.configuration_manager.patch_size,
            self.configuration_manager.batch_size,
            self.agreement_kind,
            self.resumed,
        )
        if self.selection.rule is not None:
            for name in SCORES:
                self.logger.local_logger.my_fantastic_logging.setdefault(
                    SELECTION + name, [math.nan] * self.current_epoch
                )

    def domains_to_score(self) -> tuple[nnUNetBaseDataset, nnUNetBaseDataset] | None:
        """Source cases of the fold's training, and the target's; None where no target was preprocessed and none is
        needed."""
        try:
            target = self.target_dataset()
        except PreprocessedError as error:
            if self.adapts:
                raise
            self.print_to_log_file(f"NOTE: epochs are not scored on the target. {error}")
            return None
        training_cases, _ = self.do_split()  # labels of the fold's validation cases stay for validation
        return self.dataset_class(self.preprocessed_dataset_folder, training_cases), target

    @property
    def agreement_kind(self) -> str | None:
        """What a prediction is compared with: "teacher" (and student), else "flip"; None without a mirroring axis."""
        if self.teacher is not None:
            return "teacher"
        return "flip" if self.inference_allowed_mirroring_axes else None

    def predictions(self) -> tuple[Predict, Predict | None]:
        """The network that will predict, and what it is to agree with."""
        network = self.bare_network.eval()  # not compiled: another batch shape would be compiled again

        def student(image: Tensor) -> Tensor:
            with self.mixed_precision():
                return finest(network(image))

        def teacher(image: Tensor) -> Tensor:
            with self.mixed_precision():
                return self.teacher(image)

        if self.agreement_kind == "teacher":
            return (teacher, student) if self.settings["training.predict_with"] == "teacher" else (student, teacher)
        axes = self.inference_allowed_mirroring_axes
        return student, mirrored(student, axes) if self.agreement_kind == "flip" else None

    def keep_epoch(self) -> None:
        """After nnU-Net's own end of the epoch: the checkpoints, then selection.json and its picture."""
        record, every = self.selection.history.epochs[-1], self.settings["selection.keep_checkpoints"]
        if record["selected"] and not self.disable_checkpointing:
            self.keep_selected(record["epoch"])
        if every and record["epoch"] % every == 0:
            self.save_weights(join(self.output_folder, f"checkpoint_epoch_{record['epoch']:04d}.pth"))
        if self.local_rank == 0:
            self.selection.write()

    def keep_selected(self, epoch: int) -> None:
        """Write checkpoint_selected.pth of the epoch that was the last one."""
        self.current_epoch -= 1  # as in nnU-Net's on_train_end: the epoch's number has been counted up
        self.save_checkpoint(join(self.output_folder, SELECTED))
        self.current_epoch += 1
        self.print_to_log_file(f"{SELECTED}: epoch {epoch}")

    # ---- checkpoints ------------------------------------------------------------------------------------------------

    def prediction_weights(self) -> AbstractContextManager:
        """The weights to predict with inside the block (`training.predict_with`), the student's again after it."""
        teacher = self.settings["training.predict_with"] == "teacher"
        return weights_of(self.teacher.network if teacher else None, self.bare_network)

    def adaptation_state(self) -> dict[str, Any]:
        """What a resumed training needs besides nnU-Net's own checkpoint. Tensors and builtins only."""
        optimizer = self.adversary_optimizer
        return {
            "student": self.bare_network.state_dict(),
            "modules": self.extra_modules.state_dict(),
            "statistics": self.statistics.state_dict(),
            "adversary": self.adversary.state_dict(),
            "adversary_optimizer": None if optimizer is None else optimizer.state_dict(),
            "teacher": None if self.teacher is None else self.teacher.state_dict(),
            "class_confidence": None if self.class_confidence is None else self.class_confidence.state_dict(),
            "selection": self.selection.history.state_dict(),
            "class_vectors": vectors_on_cpu(self.class_vectors()),
            "pictures": {name: drawing.caption for name, drawing in self.pictures().items()},
        }

    def load_adaptation_state(self, state: dict[str, Any]) -> None:
        """Put back what `adaptation_state` returned."""
        self.bare_network.load_state_dict(state["student"])
        self.extra_modules.load_state_dict(state["modules"])
        self.statistics.load_state_dict(state["statistics"])
        self.adversary.load_state_dict(state["adversary"])
        if self.adversary_optimizer is not None:
            self.adversary_optimizer.load_state_dict(state["adversary_optimizer"])
        if self.teacher is not None:
            self.teacher.load_state_dict(state["teacher"])
        if self.class_confidence is not None:
            self.class_confidence.load_state_dict(state["class_confidence"])
        if "selection" in state:  # a training that began before epochs were scored has none
            self.selection.history.load_state_dict(state["selection"])

    def save_checkpoint(self, filename: str) -> None:
        """nnU-Net's, with the adaptation's state and every rank's random state under one more key."""
        states = random_states()
        if self.local_rank != 0 or self.disable_checkpointing:
            return super().save_checkpoint(filename)
        stock = BytesIO()
        with self.prediction_weights():
            super().save_checkpoint(stock)
        write_checkpoint(
            filename,
            stock,
            {**self.adaptation_state(), "random_states": states},
            self.settings["training.predict_with"] == "student",
        )

    def save_weights(self, filename: str) -> None:
        """What prediction reads of a checkpoint, nothing to continue with; written aside, then renamed."""
        if self.local_rank != 0 or self.disable_checkpointing:
            return
        with self.prediction_weights(), replacing(filename) as aside:
            torch.save(
                {
                    "network_weights": self.bare_network.state_dict(),
                    "trainer_name": type(self).__name__,
                    "init_args": self.my_init_kwargs,
                    "inference_allowed_mirroring_axes": self.inference_allowed_mirroring_axes,
                },
                aside,
            )

    @one_message_in_nnunet(GO_ON)
    def load_checkpoint(self, filename_or_checkpoint: str) -> None:
        """nnU-Net's, then the adaptation's state. nnU-Net runs what code there is in a file: ours looks at it first.

        Raises:
            ResultsError, CheckpointError: it is damaged, holds more than values, or is not of this training.
        """
        read = read_to_continue if self.continues else (lambda name, _: (name, load_checkpoint(name)))
        filename, content = read(filename_or_checkpoint, self.print_to_log_file)
        if not self.was_initialized:
            self.initialize()
        require_own(content, filename, type(self).__name__, self.bare_network)
        super().load_checkpoint(filename)
        state = content[STATE]
        self.load_adaptation_state(state)
        for optimizer in filter(None, (self.optimizer, self.adversary_optimizer)):
            steps_on_cpu(optimizer)
        self.resumed = True
        if self.local_rank < len(state["random_states"]):
            self.resumed_random_state = state["random_states"][self.local_rank]


def explained(error: BaseException) -> NnudaError | None:
    """What can be done about an error of nnU-Net's or torch's, where a user can do something."""
    if isinstance(error, torch.OutOfMemoryError):
        return NnudaError(
            f"The GPU's memory is too small for this step ({str(error).split('. ')[0]}). Use training.batch=total, plan "
            "for less (-gpu_memory_target), or end what else runs on the GPU."
        )
    if isinstance(error, RuntimeError) and "background workers are no longer alive" in str(error):
        return WorkerDied(
            "A background process that reads and augments patches died; what it said stands above. If it said nothing, "
            "it was killed, most often for lack of memory: use fewer of them (nnUNet_n_proc_DA)."
        )
    return None
