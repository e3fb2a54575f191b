"""``clipiqa prompts``: prompt files."""

from __future__ import annotations

from typing import Any

from cyclopts import App

from clipiqa_plus.clip.conventions import BackboneSpec
from clipiqa_plus.commands.options import NOTHING, Stated

app = App("prompts", help="Show prompt files, import and export them, push them to the Hub.")


@app.command
def show(
    file: str, /, *, backbone: str | None = None, stated: Stated = NOTHING, words: int = 3
) -> None:
    """Show a prompt file: training data, metrics and nearest words.

    Args:
        file: A prompts.safetensors.
        backbone: Name or weights file (default: as in the file).
        stated: About its weights.
        words: Number of nearest words for each context token.
    """
    from rich.markup import escape
    from rich.table import Table

    from clipiqa_plus.evaluation.terminal import print_table
    from clipiqa_plus.prompts.files import read_prompts

    tensors, facts = read_prompts(file)
    table = Table(title=escape(file), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, tensor in tensors.items():
        shape = " x ".join(map(str, tensor.shape))
        table.add_row(escape(name), f"{shape}, {str(tensor.dtype).removeprefix('torch.')}")
    for name, value in facts.items():
        table.add_row(escape(name), escape(_shown(value)))
    print_table(table)
    _show_training(file)
    _show_words(file, stated.about(backbone), words, facts)


@app.command(name="import")
def import_file(
    file: str,
    /,
    *,
    backbone: str,
    stated: Stated = NOTHING,
    out: str,
    licence: str | None = None,
) -> None:
    """Import the prompts of pyiqa or of the official code.

    Args:
        file: The .pth file.
        backbone: Name or weights file of the backbone they were learned on, such as RN50.
        stated: About its weights.
        out: The prompt file, a .safetensors.
        licence: Licence of these prompts, as stated by their authors.
    """
    from clipiqa_plus.clip.backbone import FrozenCLIP
    from clipiqa_plus.prompts.files import save_prompts
    from clipiqa_plus.prompts.importers import import_prompts, imported_position

    clip = FrozenCLIP.from_name(stated.about(backbone) or backbone, imported_position(file))
    prompts = import_prompts(file, clip)
    print(save_prompts(out, prompts, clip, licence=licence, reduction="mean"))


@app.command
def ensemble(files: list[str], /, *, out: str, licence: str | None = None) -> None:
    """Combine prompt files of the same layout, such as those of several seeds, into one file.

    Its score is the mean over the members; clipiqa score --out also writes their spread.

    Args:
        files: Prompt files, runs or checkpoints.
        out: The prompt file, a .safetensors.
        licence: Licence of the ensemble, if the files do not all state the same one.
    """
    from clipiqa_plus.prompts.ensembles import combine_prompts

    print(combine_prompts(files, out, licence))


@app.command
def export(
    file: str, /, *, out: str, backbone: str | None = None, stated: Stated = NOTHING
) -> None:
    """Export a prompt file to pyiqa's format.

    Args:
        file: A prompts.safetensors.
        out: The .pth file.
        backbone: Name or weights file (default: as in the file).
        stated: About its weights.
    """
    from clipiqa_plus.clip.backbone import FrozenCLIP
    from clipiqa_plus.prompts.files import load_prompts, read_prompts
    from clipiqa_plus.prompts.importers import export_pyiqa

    facts = read_prompts(file)[1]
    tower = stated.about(backbone) or BackboneSpec.recorded(facts)
    clip = FrozenCLIP.from_name(tower, facts["pos_embedding"])
    print(export_pyiqa(out, load_prompts(file, clip), clip))


@app.command
def push(file: str, repo: str, /, *, licence: str | None = None, private: bool = False) -> None:
    """Push a prompt file to the Hugging Face Hub, with a model card.

    Args:
        file: A prompts.safetensors, or the folder of a run.
        repo: user/repo.
        licence: Licence, such as cc-by-4.0, if the file states none.
        private: Make a new repository private.
    """
    from clipiqa_plus.inference.hub import push_to_hub

    print(push_to_hub(file, repo, licence, private or None))


def _shown(value: Any) -> str:
    """Return a value as text, with terminal control characters escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value))


def _show_training(file: str) -> None:
    """Print the training curves of the run folder that holds the file, if any."""
    from rich.table import Table

    from clipiqa_plus.evaluation.terminal import print_table
    from clipiqa_plus.training.curves import sparkline, training_curves

    curves = training_curves({file: file})
    if curves.empty:
        print(f"no training curves: no logs/version_*/metrics.csv beside {file}")
        return
    table = Table("metric", "first", "last", "last step", "curve", title="training")
    for metric, curve in curves.groupby("metric", sort=False):
        ends = (f"{curve['value'].iloc[at]:.4f}" for at in (0, -1))
        table.add_row(str(metric), *ends, f"{curve['step'].max():,}", sparkline(curve["value"], 32))
    print_table(table)


def _show_words(
    file: str, backbone: BackboneSpec | None, words: int, facts: dict[str, Any]
) -> None:
    """Print nearest words and cosines, or why there are none."""
    from rich.markup import escape
    from rich.table import Table

    from clipiqa_plus.clip.backbone import FrozenCLIP
    from clipiqa_plus.evaluation.interpolation import pair_cosines
    from clipiqa_plus.evaluation.terminal import print_table
    from clipiqa_plus.prompts.files import load_prompts
    from clipiqa_plus.prompts.nearest_words import nearest_words, text_cosines

    try:
        tower = backbone or BackboneSpec.recorded(facts)
        clip = FrozenCLIP.from_name(tower, facts["pos_embedding"])
        prompts = load_prompts(file, clip)
    except (OSError, ValueError) as error:
        if backbone:
            raise
        print(f"nearest words need the backbone's weights; name them with --backbone: {error}")
        return
    table = Table("context token", "nearest words (distance)", title="vocabulary")
    for token, near in nearest_words(prompts, clip, words).items():
        table.add_row(token, escape(", ".join(f"{n.word} ({n.distance:.3f})" for n in near)))
    print_table(table)
    table = Table("prompt", "cosine", title="learned and zero-shot text features")
    for prompt, cosine in text_cosines(prompts, clip):
        table.add_row(escape(_shown(prompt)), f"{cosine:.3f}")
    print_table(table)
    along = pair_cosines(prompts, clip)
    title = "cosine of the prompts of a pair, from zero-shot (0) to learned (1)"
    table = Table("pair", *(f"{weight:g}" for weight in along), title=title)
    for pair, cosines in along.iterrows():
        table.add_row(escape(_shown(pair)), *(f"{cosine:.3f}" for cosine in cosines))
    print_table(table)
    print("scores from zero-shot to learned need pictures; evaluate.py plots them in its report")
