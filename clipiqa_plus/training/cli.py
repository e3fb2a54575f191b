"""The command line of training: LightningCLI with a run folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from clipiqa_plus.data import IQADataModule
from clipiqa_plus.features import FeatureCache
from clipiqa_plus.module import CLIPIQAPlus
from clipiqa_plus.training.checkpoints import LastCheckpoint, TensorCheckpoints
from clipiqa_plus.training.claim import RunClaim
from clipiqa_plus.training.class_paths import ROLES, check_class_paths
from clipiqa_plus.training.console import closing_lines, quiet_lightning
from clipiqa_plus.training.learning_check import LearningCheck
from clipiqa_plus.training.recipes import read_recipe
from clipiqa_plus.training.run_folder import RunRecord
from clipiqa_plus.training.tracking import run_loggers

TRAINER_DEFAULTS = {
    "log_every_n_steps": 1,  # what is logged is an epoch's; Lightning warns of short epochs
    "num_sanity_val_steps": 0,  # two batches have no meaningful SRCC
    "enable_model_summary": False,  # the module prints what is trained and what is frozen
}

COMMANDS = ("overwrite", "ckpt_path", "allow_any_class")
"""Options that hold for one start: only the command line may give them, no recipe."""


class TrainCLI(LightningCLI):
    """A recipe on the command line, each run of it in a folder of its own.

    Args:
        default_recipe: Recipe that is run when none is named.
        args: Command-line arguments; None takes the process's own.

    Attributes:
        claim: The run folder, this process's own until the end of a with block.
    """

    claim: RunClaim

    def __init__(self, default_recipe: Path, args: list[str] | None = None) -> None:
        quiet_lightning()
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
            "--overwrite",
            type=bool,
            default=False,
            help="Replace the run that the folder holds, once the new one has a checkpoint.",
        )
        parser.add_argument(
            "--allow_any_class",
            type=bool,
            default=False,
            help=f"Let recipes name other classes than {ROLES}, and functions: they can run "
            "any code, so only for recipes that you have read.",
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

    def before_instantiate_classes(self) -> None:
        """Refuse recipes that hold commands, or name what could run any code.

        Raises:
            ValueError: Naming it.
        """
        for recipe in map(str, self.config.config or []):
            given = read_recipe(recipe) if Path(recipe).is_file() else {}
            for name in COMMANDS:
                if given.get(name):
                    raise ValueError(
                        f"{recipe}: {name} is a command and no part of a recipe; delete it there, "
                        f"and give --{name} on the command line if you mean it"
                    )
        if not self.config.allow_any_class:
            options = {k: v for k, v in vars(self.config).items() if k != "config"}
            check_class_paths(options, "; --allow_any_class true allows it")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Claim the run folder and let loggers, checkpoints and the record write there."""
        config = self.config_init
        recipe = Path(str(config.config[-1])).stem if config.config else self.default_recipe.stem
        folder = Path(config.run or f"runs/{recipe}")
        self.config.run = str(folder)
        self.claim = RunClaim(folder, config.ckpt_path is not None, config.overwrite)
        try:
            return self._trainer(folder, recipe, **kwargs)
        except BaseException:
            with self.claim:
                raise

    def print_closing_lines(self) -> None:
        """Print the result, the files and the next command, below every progress bar."""
        if self.trainer.is_global_zero:
            print(closing_lines(Path(self.config.run), self.trainer, self.datamodule))

    def _trainer(self, folder: Path, recipe: str, **kwargs: Any) -> Trainer:
        config, given = self.config_init, self.config_init.trainer
        config.checkpoint.dirpath = config.checkpoint.dirpath or str(folder / "checkpoints")
        record = RunRecord(
            folder,
            self._configuration(),
            recipe,
            self.config.seed_everything,
            config.licence,
        )
        callbacks = [
            *(given.callbacks or []),
            record,
            LearningCheck(),
            LastCheckpoint(config.checkpoint.dirpath, self.claim),
        ]
        if given.enable_progress_bar is not False:
            callbacks.append(RichProgressBar())
        loggers = run_loggers(given.logger, folder, config.wandb)
        if loggers:
            callbacks.append(LearningRateMonitor("epoch"))
        plugins = given.plugins if isinstance(given.plugins, list) else [given.plugins]
        return super().instantiate_trainer(
            default_root_dir=folder,
            logger=loggers,
            callbacks=callbacks,
            plugins=[TensorCheckpoints(), *filter(None, plugins)],
            **kwargs,
        )

    def _configuration(self) -> str:
        """The resolved config as YAML, without the commands of this start."""
        config = self.config.clone()
        for name in COMMANDS:
            config.pop(name)
        return self.parser.dump(config)
