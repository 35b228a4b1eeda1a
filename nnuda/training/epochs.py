"""What is done at the start and the end of an epoch, and of nnU-Net's validation on the source."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from batchgenerators.utilities.file_and_folder_operations import join
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnuda.data.stream import finish
from nnuda.errors import one_message_in_nnunet
from nnuda.results import LOGGED
from nnuda.training.cost import StepCost
from nnuda.training.curves import EpochMeans, plot_curves
from nnuda.training.divergence import Divergence
from nnuda.training.pictures import FOLDER as PICTURES
from nnuda.training.selecting import LOGGED as SELECTION
from nnuda.training.words import on_the_source, predict_command


class Epochs(nnUNetTrainer):
    """Part of nnUDATrainer: means of the loss terms, curves, pictures, and validation by the weights that predict."""

    settings: dict[str, Any]
    step_in_epoch: int
    epoch_means: EpochMeans
    cost: StepCost
    divergence: Divergence

    def on_train_epoch_start(self) -> None:
        """nnU-Net's; a new epoch's means."""
        super().on_train_epoch_start()
        if self.adversary_optimizer is not None:
            self.adversary_schedule.step(self.current_epoch)
        self.step_in_epoch = 0
        self.set_strength()
        self.epoch_means.reset()
        self.cost.start()

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
