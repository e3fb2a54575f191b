"""The training command line: LightningCLI with a run folder."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import set_parsing_settings
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import SIGTERMException

from clipiqa_plus import __version__
from clipiqa_plus.data import IQADataModule
from clipiqa_plus.features import FeatureCache
from clipiqa_plus.module import CLIPIQAPlus
from clipiqa_plus.prompts.files import LAST_CHECKPOINT
from clipiqa_plus.training.checkpoints import LastCheckpoint, TensorCheckpoints
from clipiqa_plus.training.class_paths import ROLES, check_class_paths
from clipiqa_plus.training.console import closing_lines, quiet_lightning
from clipiqa_plus.training.learning_check import LearningCheck
from clipiqa_plus.training.recipes import find_recipe, read_recipe, recipe_paths
from clipiqa_plus.training.run_folder import RunRecord
from clipiqa_plus.training.run_lock import RunLock
from clipiqa_plus.training.second_order import SecondOrder
from clipiqa_plus.training.tracking import run_loggers

# The fields of PromptConfig are documented by attribute docstrings.
set_parsing_settings(docstring_parse_attribute_docstrings=True)

TRAINER_DEFAULTS = {
    "log_every_n_steps": 1,  # we log once per epoch; Lightning warns about short epochs
    "num_sanity_val_steps": 0,  # two batches have no meaningful SRCC
    "enable_model_summary": False,  # the module prints its own
}

# How gloo and NCCL report the loss of another process.
_LOST = re.compile(r"gloo|nccl|connection (closed|reset|refused)|broken pipe", re.IGNORECASE)

COMMANDS = ("overwrite", "ckpt_path", "allow_any_class")
"""Options that apply to a single start of a run: valid on the command line, not in a recipe."""


class TrainParser(LightningArgumentParser):
    """Parser that suggests the closest valid option or value after a typing error."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Exit with the message and suggestions instead of 60 lines of usage."""
        options = [name for action in self._actions for name in action.option_strings]
        options += [f"--data.{name}" for name in signature(IQADataModule).parameters]
        words = re.findall(r"--([\w.]+)", message.partition("unrecognized arguments:")[2])
        words += re.findall(r"(?:Option|Key) '([\w.]+)' is not", message)
        choices = re.findall(r"'(\w+)'", message)
        # A word without a dot is an option of the data set, reported by its own parser.
        words = [word if "." in word else f"data.{word}" for word in words]
        near = [get_close_matches(f"--{word}", options, 1, 0.7) for word in words]
        values = re.findall(r"Got value: (\w+)", message)
        near += [get_close_matches(value, choices, 1, 0.5) for value in values]
        meant = " ".join(dict.fromkeys(name for names in near for name in names))
        question = f"\nDid you mean {meant}?" if meant else ""
        said = _of_wrong_type(message) or message
        self.exit(2, f"{self.prog}: {said}{question}\n(--help lists the options.)\n")


def _own_message(message: str) -> str:
    """Find what a class said in the parser's list of all types that a value might have had."""
    listed = message.partition("Errors:\n")[2].partition("\nGiven value type:")[0]
    said = (item.strip() for item in re.split(r"^ *- ", listed, flags=re.MULTILINE))
    own = (item for item in said if item and not item.startswith(("Expected", "Does not validate")))
    return re.sub(r"\n +", "\n", next(own, ""))


def _of_wrong_type(message: str) -> str:
    """Say in one line which types an option takes; empty for other messages."""
    option = re.search(r'Parser key "([\w.]+)"', message)
    value = re.search(r"(?:Given|Got) value: (.+)", message)
    expected = re.findall(r"Expected an? (.+?)(?:: |\. | but |$)", message, re.MULTILINE)
    if not (option and value and expected):
        return ""
    kinds = [
        re.sub(r"<class '(?:\w+\.)*(\w+)'>|typing\.Literal\[(.*)\]", r"\1\2", kind)
        .replace("NoneType", "null")
        .replace("dot import path string", "class")
        for kind in expected
    ]
    names = sorted(set(kinds), key=lambda kind: (kind == "null", kind))
    return f"{option[1]} is {value[1]}; expected {' or '.join(names)}"


class TrainCLI(LightningCLI):
    """Runs a recipe in a run folder.

    Args:
        default_recipe: Recipe to use when none is named; if None, naming one is required.
        args: Command-line arguments; None uses ``sys.argv``.

    Attributes:
        run_lock: Lock of the run folder, to be released by a ``with`` block.
    """

    run_lock: RunLock

    def __init__(self, default_recipe: Path | None, args: list[str] | None = None) -> None:
        quiet_lightning()
        given, named = _find_recipes(_as_flags(sys.argv[1:] if args is None else args))
        asks = any(re.match(r"--(version|help_all|[\w.]+\.help)(=|$)", word) for word in given)
        if not named and default_recipe is None and not asks:
            names = ", ".join(recipe_paths())
            raise ValueError(f"name a recipe with --config: a YAML file, or one of {names}")
        self.default_recipe = default_recipe
        super().__init__(
            CLIPIQAPlus,
            IQADataModule,
            args=given,
            parser_kwargs={"default_config_files": [] if named or asks else [str(default_recipe)]},
            subclass_mode_data=True,
            save_config_callback=None,
            seed_everything_default=0,
            trainer_defaults=TRAINER_DEFAULTS,
            auto_configure_optimizers=False,
            parser_class=TrainParser,
            run=False,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of the run, as opposed to model, data and trainer."""
        parser.add_argument(
            "--run", type=str | None, help="Folder of the run (default: runs/<recipe>)."
        )
        parser.add_argument(
            "--overwrite",
            type=bool,
            default=False,
            help="Replace the run in the folder once the new one has a checkpoint.",
        )
        parser.add_argument(
            "--allow_any_class",
            type=bool,
            default=False,
            help=f"Allow recipes to name functions, and classes other than {ROLES}. These can run "
            "any code: use it only for recipes that you have read.",
        )
        parser.add_argument(
            "--ckpt_path", type=str | None, help="Resume from 'last' or from a checkpoint file."
        )
        parser.add_argument(
            "--wandb", type=str | None, help="Also log to this Weights & Biases project."
        )
        parser.add_argument(
            "--licence", type=str | None, help="Licence of the learned prompts, such as CC-BY-4.0."
        )
        parser.add_argument(
            "--help_all", action="help", help="Show all options, including Lightning's, and exit."
        )
        parser.add_argument(
            "--version",
            action="version",
            version=f"clipiqa_plus {__version__}",
            help="Show the version and exit.",
        )
        # One seed for everything random in training; the data split has its own.
        parser.link_arguments("seed_everything", "model.prompts.seed", compute_fn=int)
        parser.link_arguments("seed_everything", "data.init_args.order_seed", compute_fn=int)
        parser.add_lightning_class_args(FeatureCache, "features")
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.set_defaults({"checkpoint.filename": "{epoch}"})

    def before_instantiate_classes(self) -> None:
        """Refuse recipes with command-line-only options, or with classes that are not allowed.

        Raises:
            ValueError: If a recipe has any.
        """
        for recipe in map(str, self.config.config or []):
            given = read_recipe(recipe) if Path(recipe).is_file() else {}
            for name in COMMANDS:
                if given.get(name):
                    raise ValueError(
                        f"{recipe}: {name} is not allowed in a recipe; delete it there and, if "
                        f"you need it, give --{name} on the command line"
                    )
        if not self.config.allow_any_class:
            options = {k: v for k, v in vars(self.config).items() if k != "config"}
            check_class_paths(options, "; --allow_any_class true allows it")

    def instantiate_classes(self) -> None:
        """Build model, data and trainer.

        Raises:
            ValueError: With the message of the class that refused its arguments.
        """
        try:
            super().instantiate_classes()
        except ValueError as error:
            if own := _own_message(str(error)):
                raise ValueError(own) from None
            raise

    @contextmanager
    def handle_lost_processes(self) -> Iterator[None]:
        """Replace the errors that follow the loss of another process by a single message.

        After SIGTERM the process exits with 143, as is usual, where Lightning's exit code is 0.

        Raises:
            ConnectionError: If another process of this training has ended.
        """
        try:
            yield
        except SIGTERMException as stop:
            raise SystemExit(128 + signal.SIGTERM) from stop
        except RuntimeError as error:
            if self.trainer.world_size < 2 or not _LOST.search(str(error)):
                raise
            folder = self.run_lock.folder
            has_last = (folder / LAST_CHECKPOINT).is_file()
            remedy = f"resume with --run {folder} --ckpt_path last" if has_last else "start again"
            raise ConnectionError(f"another process of this run has ended; {remedy}") from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Lock the run folder and build a trainer that writes to it."""
        config = self.config_init
        recipe = Path(str(config.config[-1] if config.config else self.default_recipe)).stem
        folder = Path(config.run or f"runs/{recipe}")
        self.config.run = str(folder)
        self.run_lock = RunLock(folder, config.ckpt_path is not None, config.overwrite)
        try:
            return self._trainer(folder, recipe, **kwargs)
        except BaseException:
            with self.run_lock:
                raise

    def print_closing_lines(self) -> None:
        """Print the result, the files and the next command, after the last progress bar."""
        if self.trainer.is_global_zero:
            evaluate = "python evaluate.py" if self.default_recipe else "clipiqa evaluate"
            print(closing_lines(Path(self.config.run), self.trainer, self.datamodule, evaluate))

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
        own = given.callbacks
        callbacks = [
            *(own if isinstance(own, list) else [own] if own else []),
            SecondOrder(),  # before the record, which writes the state that it keeps
            record,
            LearningCheck(),
            LastCheckpoint(config.checkpoint.dirpath, self.run_lock),
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
        """Return the resolved config as YAML, without the :data:`COMMANDS`."""
        config = self.config.clone()
        for name in COMMANDS:
            config.pop(name)
        return self.parser.dump(config)


def _as_flags(args: Sequence[str]) -> list[str]:
    """Expand ``--overwrite`` without a value to ``--overwrite=true``."""
    following = [*args, "--"][1:]
    return [
        "--overwrite=true" if arg == "--overwrite" and after.startswith("-") else arg
        for arg, after in zip(args, following, strict=True)
    ]


def _find_recipes(args: Sequence[str]) -> tuple[list[str], bool]:
    """Replace names of recipes after ``--config`` by paths; also return if there were any."""
    found, named = list(args), False
    for position, arg in enumerate(args):
        option, equals, value = arg.partition("=")
        if option not in ("-c", "--config"):
            continue
        named = True
        if equals:
            found[position] = f"{option}={find_recipe(value)}"
        elif position + 1 < len(args):
            found[position + 1] = str(find_recipe(args[position + 1]))
    return found, named
