"""The base trainer: nnU-Net's, with a second, unlabelled domain."""

from __future__ import annotations

import math
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from batchgenerators.utilities.file_and_folder_operations import isfile, join
from nnunetv2.paths import nnUNet_results
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import Tensor, autocast, nn
from torch import distributed as dist
from torch.optim import Optimizer

from nnuda.data.domain_batch import SourceBatch, TargetBatch, to_device
from nnuda.data.mixing import paste_boxes
from nnuda.data.stream import finish
from nnuda.data.strong_augmentation import Strength
from nnuda.data.target_style import in_target_style
from nnuda.environment import check_numbers
from nnuda.errors import (
    NnudaError,
    UnsupportedError,
    one_message_in_nnunet,
    runs_nnunet,
    say_errors_in_one_message,
)
from nnuda.files import LOCK, locked, sweep, write_json
from nnuda.labels import certain_logits, class_names
from nnuda.losses.confident_pseudo_label import confident_pseudo_label_loss, deeply_supervised
from nnuda.plan_check import check_to_train
from nnuda.plan_key import KEY, plans_with_target_normalization
from nnuda.plan_network import build_network
from nnuda.processes import WorkerDied
from nnuda.results import LOGGED, PLANS, PLANS_SOURCE, find_checkpoint
from nnuda.selection.history import FILE as SELECTION_FILE
from nnuda.settings import INIT_FROM
from nnuda.statistics.class_confidence import ClassConfidence
from nnuda.training.checkpoint import (
    GO_ON,
    bare,
    move_earlier_aside,
    refuse_to_train_again,
)
from nnuda.training.cost import MEMORY_GB, STEP_SECONDS, StepCost
from nnuda.training.curves import EpochMeans
from nnuda.training.distributed import average_gradients, broadcast_from_first
from nnuda.training.divergence import DivergedError, Divergence
from nnuda.training.epoch_scores import EpochScores
from nnuda.training.epochs import Epochs
from nnuda.training.forward import forward_together
from nnuda.training.frozen import freeze, frozen_classes, frozen_settings, refuse_other_configuration
from nnuda.training.init_from import check_pretrained_weights, init_from
from nnuda.training.loss_terms import LossTerm, check_losses, check_name, loss_terms, term_names
from nnuda.training.optimizers import GroupPolySchedule
from nnuda.training.outputs import DomainOutputs, finest
from nnuda.training.pictures import Drawing
from nnuda.training.preprocessed import require_data
from nnuda.training.random_state import seed_everything, set_random_state
from nnuda.training.saved_state import SavedState
from nnuda.training.selecting import EpochSelection
from nnuda.training.teacher import EmaTeacher, decay_for
from nnuda.training.threads import take_threads_as_told
from nnuda.training.two_domains import TwoDomains

SECONDS_TO_END = 3  # for background workers, after an error or a signal

if runs_nnunet():  # not in a notebook, a test or a script of the user's
    say_errors_in_one_message()


class nnUDATrainer(Epochs, EpochScores, SavedState, TwoDomains):
    """nnU-Net's trainer with an unlabelled target domain: base of every method.

    A method gives `preset` and implements `adaptation_losses`; where its paper needs it, it overrides `source_loss`,
    `forward_domains`, `build_modules`, `build_statistics`, `configure_adaptation_optimizers`, or `configure_adversary`
    with `adversary_losses`. With every weight 0 this is nnUNetTrainer, step for step. Its data, epochs, scores of epochs
    and checkpoints are in the classes that it is made of; here is what a method says, and the step.
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
        check_numbers()
        if os.environ.get("nnUNet_results") == "":
            raise NnudaError("Environment variable nnUNet_results is empty. Set it to a folder's absolute path.")
        check_to_train(plans, configuration, dataset_json)
        if fold != "all" and fold < 0:  # which Python counts from the end of nnU-Net's list
            raise NnudaError(f"Fold: expected a number from 0, or all; got {fold}. Name the fold that is meant.")
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
        if device.type == "cpu":
            take_threads_as_told()
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

    @staticmethod
    @one_message_in_nnunet()
    def build_network_architecture(
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """nnU-Net's.

        Raises:
            FrozenConfigurationError: the plan is not what a training of nnuda left.
            PlanningError: it describes no network, or none for its patches.
        """
        frozen_settings(plans_manager.plans)  # what is predicted by is what training left
        return build_network(configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision)

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
            PreprocessedError: what ended it was a damaged case.
        """
        with self.alone():
            try:
                super().run_training()
            except BaseException as error:
                for stream in (self.dataloader_train, self.dataloader_val):
                    finish(stream, SECONDS_TO_END)
                known = explained(error)
                if may_come_of_the_data(known or error):
                    known = self.damage() or known
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


def may_come_of_the_data(error: BaseException) -> bool:
    """Whether values in a case can have ended a training so: it diverged, lost a worker, or met what nobody explains."""
    said = isinstance(error, (NnudaError, OSError, MemoryError)) or not isinstance(error, Exception)
    return isinstance(error, (DivergedError, WorkerDied)) or not said


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
