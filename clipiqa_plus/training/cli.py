"""The command line of training: LightningCLI with a run folder."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, WandbLogger

from clipiqa_plus.data import IQADataModule
from clipiqa_plus.features import FeatureCache
from clipiqa_plus.module import CLIPIQAPlus
from clipiqa_plus.training.run_folder import RunRecord, claim

# Lightning's own call of a torch function that torch deprecates: nothing a user could mend.
warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")

TRAINER_DEFAULTS = {
    "log_every_n_steps": 10,
    "num_sanity_val_steps": 0,  # two batches have no meaningful SRCC
    "enable_model_summary": False,  # the module prints what is trained and what is frozen
}


class TrainCLI(LightningCLI):
    """A recipe on the command line, each run of it in a folder of its own.

    Args:
        default_recipe: Recipe that is run when none is named.
        args: Command-line arguments; None takes the process's own.
    """

    def __init__(self, default_recipe: Path, args: list[str] | None = None) -> None:
        self.default_recipe = default_recipe
        given = sys.argv[1:] if args is None else args
        named = any(a.split("=")[0] in ("-c", "--config") for a in given)
        super().__init__(
            CLIPIQAPlus,
            IQADataModule,
            args=args,
            parser_kwargs={"default_config_files": [] if named else [str(default_recipe)]},
            subclass_mode_data=True,
            save_config_callback=None,
            seed_everything_default=0,
            trainer_defaults=TRAINER_DEFAULTS,
            auto_configure_optimizers=False,
            run=False,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what belongs to the run and not to the model, the data or the trainer."""
        parser.add_argument(
            "--run", type=str | None, help="Folder of the run (default: runs/<recipe>)."
        )
        parser.add_argument(
            "--overwrite", type=bool, default=False, help="Replace the run that the folder holds."
        )
        parser.add_argument(
            "--ckpt_path", type=str | None, help="Resume from 'last' or from a checkpoint's path."
        )
        parser.add_argument(
            "--wandb", type=str | None, help="Also log to this Weights & Biases project."
        )
        parser.add_argument(
            "--licence", type=str | None, help="Licence of the learned prompts, as CC-BY-4.0."
        )
        # One seed for what training draws; the split of the data has its own.
        parser.link_arguments("seed_everything", "model.prompts.seed", compute_fn=int)
        parser.link_arguments("seed_everything", "data.init_args.order_seed", compute_fn=int)
        parser.add_lightning_class_args(FeatureCache, "features")
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.set_defaults({"checkpoint.filename": "{epoch}"})

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Claim the run folder and let loggers, checkpoints and the record write there."""
        config, given = self.config_init, self.config_init.trainer
        recipe = Path(str(config.config[-1])).stem if config.config else self.default_recipe.stem
        folder = Path(config.run or f"runs/{recipe}")
        claim(folder, resume=config.ckpt_path is not None, overwrite=config.overwrite)
        self.config.run = str(folder)
        config.checkpoint.dirpath = config.checkpoint.dirpath or str(folder / "checkpoints")
        record = RunRecord(
            folder,
            self.parser.dump(self.config),
            recipe,
            self.config.seed_everything,
            config.licence,
        )
        callbacks = [*(given.callbacks or []), record, LastCheckpoint(config.checkpoint.dirpath)]
        if given.enable_progress_bar is not False:
            callbacks.append(RichProgressBar())
        loggers = _loggers(given.logger, folder, config.wandb)
        if loggers:
            callbacks.append(LearningRateMonitor())
        return super().instantiate_trainer(
            default_root_dir=folder, logger=loggers, callbacks=callbacks, **kwargs
        )


class LastCheckpoint(ModelCheckpoint):
    """Saves last.ckpt after every epoch, for resuming.

    Lightning's own ``save_last`` follows the monitored metric: its last.ckpt is the last *best*.

    Args:
        folder: Folder of the checkpoints.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)


def _loggers(given: Any, folder: Path, wandb_project: str | None) -> Any:
    """The recipe's loggers, by default CSV, and Weights & Biases if a project is named."""
    if given is False:
        return False
    loggers = [CSVLogger(folder, name="logs")] if given in (None, True) else given
    if wandb_project:
        loggers = loggers if isinstance(loggers, list) else [loggers]
        loggers.append(WandbLogger(project=wandb_project, name=folder.name, save_dir=folder))
    return loggers
