"""The help of training, parsed from the source files: faster than importing torch."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_CLASSES = {
    "model": ("module.py", "CLIPIQAPlus"),
    "model.prompts": ("prompts/config.py", "PromptConfig"),
    "data": ("data/base.py", "IQADataModule"),
    "features": ("features/cache.py", "FeatureCache"),
}
_TITLES = {
    "model": "Model, loss and optimizer",
    "model.prompts": "Prompts",
    "data": "Data (options of a data set: --data.help CLASS)",
    "features": "Cache of image features",
}
# A group of its own, and the seeds that --seed_everything sets.
_NOT_GIVEN = ("model.prompts", "model.prompts.seed", "data.order_seed")
_RUN = {
    "--config RECIPE": "Recipe, by name or path. A later one overrides an earlier one, and options "
    "override both.",
    "--run FOLDER": "Folder of the run (default: runs/<recipe>).",
    "--ckpt_path last": "Resume the run in the folder, or from the path of a checkpoint.",
    "--overwrite": "Replace the run in the folder.",
    "--seed_everything N": "Seed of the context tokens and of the order of the training samples.",
    "--wandb PROJECT": "Also log to this Weights & Biases project.",
    "--licence NAME": "Licence of the learned prompts, such as CC-BY-4.0.",
    "--print_config": "Print the resolved recipe and exit.",
    "--help_all": "Show all options, including those of Lightning's Trainer and ModelCheckpoint.",
    "--version": "Show the version and exit.",
}
_TRAINER = {
    "--trainer.max_steps N": "Number of optimizer steps.",
    "--trainer.max_epochs N": "Number of epochs; -1 for no limit.",
    "--trainer.accelerator NAME": "cpu, gpu, mps or auto.",
    "--trainer.devices N": "Number of devices; each processes its own batches.",
    "--trainer.num_nodes N": "Number of machines.",
    "--trainer.accumulate_grad_batches N": "Batches per optimizer step.",
    "--trainer.logger CLASS": "Logger (default: CSV files in the run folder); false for none.",
    "--checkpoint.monitor NAME": "Metric that selects the best epoch, such as val/SRCC.",
    "--checkpoint.mode MODE": "max if higher is better, min if lower is better.",
}


def help_text() -> str:
    """Return the help: the options in groups, each with its default and description."""
    blocks = [("The run", _RUN), ("Length, devices, loggers, checkpoints", _TRAINER)]
    for group, (file, name) in _CLASSES.items():
        tree = ast.parse((_PACKAGE / file).read_text())
        (found,) = (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)
        options = {
            f"--{group}.{option} {default}".rstrip(): text
            for option, default, text in (_fields(found) or _arguments(found))
            if f"{group}.{option}" not in _NOT_GIVEN
        }
        blocks.insert(-1, (_TITLES[group], options))
    lines = ["usage: python train.py [--config RECIPE] [--OPTION VALUE ...]"]
    for title, options in blocks:
        lines += ["", f"{title}:"]
        for option, text in options.items():
            lines.append(f"  {option}")
            lines += textwrap.wrap(text, 92, initial_indent=8 * " ", subsequent_indent=8 * " ")
    return "\n".join(lines)


def _arguments(found: ast.ClassDef) -> Iterator[tuple[str, str, str]]:
    """Yield name, default and description of the arguments of a class's ``__init__``."""
    (init,) = (n for n in found.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    arguments = init.args.args[1:]
    defaults = [""] * (len(arguments) - len(init.args.defaults))
    defaults += [ast.unparse(default).strip("'") for default in init.args.defaults]
    _, _, section = (ast.get_docstring(found) or "").partition("Args:\n")
    section = section.split("\n\n")[0]
    texts = dict(re.findall(r"^    (\w+): (.*(?:\n     .*)*)", section, re.MULTILINE))
    for argument, default in zip(arguments, defaults, strict=True):
        if argument.arg in texts:
            yield argument.arg, default, _plain(texts[argument.arg])


def _fields(found: ast.ClassDef) -> list[tuple[str, str, str]]:
    """Return name, default and description of the fields of a dataclass."""
    return [
        (field.target.id, _default(field.value), _plain(text.value.value))
        for field, text in zip(found.body, found.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and found.decorator_list
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    ]


def _default(value: ast.expr | None) -> str:
    text = ast.unparse(value).strip("'") if value else ""
    return text.partition("lambda: ")[2].rstrip(")") if "lambda" in text else text


def _plain(text: str) -> str:
    """Strip the markup of reStructuredText."""
    return re.sub(r"(:\w+:)?`+~?([^`]*)`+", r"\2", " ".join(text.split()))
