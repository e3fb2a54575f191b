"""The help of train.py, read from the sources: to load torch takes longer than to read it."""

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
    "model.prompts": "What CLIP is asked",
    "data": "Data (each data set has its own besides: --data.help CLASS)",
    "features": "Cache of image features",
}
# A group of its own, and what --seed_everything sets.
_NOT_GIVEN = ("model.prompts", "model.prompts.seed", "data.order_seed")
_RUN = {
    "--config FILE": "The recipe; more than one are laid over each other, and options over all.",
    "--run FOLDER": "Folder of the run (default: runs/<recipe>).",
    "--ckpt_path last": "Go on with the run in the folder; or the path of a checkpoint.",
    "--overwrite": "Replace the run that the folder holds.",
    "--seed_everything N": "Seed of the context tokens and of the order of training.",
    "--wandb PROJECT": "Also log to this Weights & Biases project.",
    "--licence NAME": "Licence of the learned prompts, as CC-BY-4.0.",
    "--print_config": "Print the resolved recipe, and train nothing.",
    "--help_all": "Every option, those of Lightning's Trainer and ModelCheckpoint too.",
}
_TRAINER = {
    "--trainer.max_steps N": "Optimizer steps to train for.",
    "--trainer.max_epochs N": "Passes over the training part to train for; -1: no limit.",
    "--trainer.accelerator NAME": "cpu, gpu, mps or auto.",
    "--trainer.devices N": "Number of devices; each takes batches of its own.",
    "--trainer.num_nodes N": "Number of machines.",
    "--trainer.accumulate_grad_batches N": "Batches for each optimizer step.",
    "--trainer.logger CLASS": "Logger (default: CSV files in the run folder); false: none.",
    "--checkpoint.monitor NAME": "Metric whose best epoch is kept, as val/SRCC.",
    "--checkpoint.mode max": "Whether a high (max) or a low (min) value is best.",
}


def overview() -> str:
    """Return the help: the options in groups, each with its meaning and its default."""
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
    """Name, default and meaning of each argument of a class, by signature and docstring."""
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
    """The same of a dataclass, whose fields have a docstring each."""
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
    """Without the marks of reStructuredText."""
    return re.sub(r"(:\w+:)?`+~?([^`]*)`+", r"\2", " ".join(text.split()))
