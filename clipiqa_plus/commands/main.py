"""The command ``clipiqa``: scores pictures; looks into data sets, caches and prompt files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from clipiqa_plus import __version__

# Each command imports what it needs when it runs: `clipiqa --help` answers at once.


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        args: Arguments; None takes the process's own.

    Returns:
        The exit code: 0, or 1 after an error that the command reports.
    """
    options = _parser().parse_args(args)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        print(f"clipiqa: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="clipiqa", description=__doc__)
    parser.add_argument("--version", action="version", version=f"clipiqa_plus {__version__}")
    topics = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    score = topics.add_parser("score", help="score pictures into a CSV, JSONL or Parquet file")
    score.add_argument(
        "paths", nargs="+", help="files, folders, globs, tar shards, or - for a list on stdin"
    )
    score.add_argument("--preset", default="clipiqa", help="see 'clipiqa presets'")
    score.add_argument("--prompts", help="prompt file, for presets with learned prompts")
    score.add_argument("--backbone", help="name or weights file, in place of the preset's")
    score.add_argument("--out", required=True, help="scores.csv, .jsonl or .parquet; resumed")
    score.add_argument("--html", help="also a page of the best and the worst pictures")
    score.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: the GPU if there is one)")
    score.add_argument("--devices", type=int, default=1, help="so many GPUs, a process for each")
    score.add_argument("--batch-size", type=int, default=16, help="most pictures at once")
    score.add_argument("--workers", type=int, help="threads that decode (default: cores)")
    score.add_argument(
        "--engine",
        default="local",
        choices=["local", "ray"],
        help="ray: also URLs and Parquet tables",
    )
    score.add_argument("--max-pixels", type=int, help="larger pictures are failures, or resized")
    score.add_argument(
        "--oversize",
        default="error",
        choices=["error", "resize"],
        help="with --max-pixels: list larger pictures as failures, or score them made smaller, "
        "which is not the published score (default: error)",
    )
    score.add_argument("--overwrite", action="store_true", help="begin anew; do not resume")
    score.set_defaults(run=_score)
    export = topics.add_parser("export", help="a preset as one ONNX or torch.export file")
    export.add_argument("--preset", default="clipiqa", help="see 'clipiqa presets'")
    export.add_argument("--prompts", help="prompt file, for presets with learned prompts")
    export.add_argument("--backbone", help="name or weights file, in place of the preset's")
    export.add_argument("--format", choices=("onnx", "pt2"), default="onnx")
    export.add_argument("--out", required=True, help="the file; its card is FILE.json")
    export.set_defaults(run=_export)
    presets = topics.add_parser("presets", help="ways to score, and what each of them fixes")
    presets.set_defaults(run=_presets)

    data = topics.add_parser("data", help="benchmarks: list them, check a folder")
    actions = data.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="all benchmarks: size, scale, split, source, terms")
    listing.set_defaults(run=_data_list)
    check = actions.add_parser("check", help="look for a benchmark in a folder")
    check.add_argument("name", help="short name, see 'clipiqa data list'")
    check.add_argument("--root", required=True, help="folder of the unpacked data set")
    check.set_defaults(run=_data_check)

    features = topics.add_parser("features", help="the feature cache: info, verify, prune")
    actions = features.add_subparsers(required=True, metavar="ACTION")
    folder = argparse.ArgumentParser(add_help=False)
    folder.add_argument("--dir", help="folder of the features (default: as in training)")
    about = actions.add_parser("info", parents=[folder], help="what the cache holds")
    about.set_defaults(run=_features_info)
    verify = actions.add_parser("verify", parents=[folder], help="check every file's SHA-256")
    verify.add_argument("--recipe", help="also encode some of its pictures anew and compare")
    verify.add_argument("--part", default="test", choices=["train", "val", "test"])
    verify.add_argument("--samples", type=int, default=16, help="pictures to encode anew")
    verify.set_defaults(run=_features_verify)
    prune = actions.add_parser("prune", parents=[folder], help="remove damaged and stale features")
    prune.add_argument("--unused-days", type=float, help="also those not read for so many days")
    prune.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    prune.set_defaults(run=_features_prune)

    report = topics.add_parser("report", help="the HTML page of an evaluation, made anew")
    report.add_argument("folder", help="the --out of evaluate.py")
    report.set_defaults(run=_report)

    prompts = topics.add_parser("prompts", help="prompt files: show, import, export, push")
    actions = prompts.add_subparsers(required=True, metavar="ACTION")
    show = actions.add_parser("show", help="what a prompt file was learned on, and what it reached")
    show.add_argument("file", help="a prompts.safetensors")
    show.add_argument("--backbone", help="name or file of the weights (default: as in the file)")
    show.add_argument("--words", type=int, default=3, help="nearest words for each context token")
    show.set_defaults(run=_prompts_show)
    bring = actions.add_parser("import", help="prompts of pyiqa or of the official code, into ours")
    bring.add_argument("file", help="a .pth")
    bring.add_argument("--backbone", required=True, help="what they were learned on: RN50, ...")
    bring.add_argument("--licence", help="of these prompts, as their authors state it")
    bring.add_argument("--out", required=True, help="a .safetensors")
    bring.set_defaults(run=_prompts_import)
    push = actions.add_parser("push", help="onto the Hugging Face Hub, with a model card")
    push.add_argument("file", help="a prompts.safetensors, or the folder of a run")
    push.add_argument("repo", help="user/repo")
    push.add_argument("--licence", help="such as cc-by-4.0, if the file states none")
    push.add_argument("--private", action="store_true", help="make a new repository private")
    push.set_defaults(run=_prompts_push)
    export = actions.add_parser("export", help="into pyiqa's format")
    export.add_argument("file", help="a prompts.safetensors")
    export.add_argument("--backbone", help="name or weights file (default: as the file says)")
    export.add_argument("--out", required=True, help="a .pth")
    export.set_defaults(run=_prompts_export)
    return parser


def _score(options: argparse.Namespace) -> int:
    from functools import partial

    from clipiqa_plus.inference.bulk import (
        SizeLimit,
        name_devices,
        score_files,
        score_with_ray,
    )
    from clipiqa_plus.inference.scorer import load
    from clipiqa_plus.report.gallery import write_gallery

    if options.html and "://" in options.out:
        raise ValueError(f"--html is made from a file of scores on this machine, not {options.out}")
    limit = SizeLimit(options.max_pixels, options.oversize)
    ready = partial(load, options.preset, options.prompts, options.backbone, image_only=True)
    how = (options.batch_size, options.workers, options.overwrite, True, limit)
    if options.engine == "ray":
        scorer, count = ready(device="cpu"), options.devices
        done = score_with_ray(
            scorer, ready, options.paths, options.out, *how, count, options.device
        )
    elif options.devices == 1:
        scorer = ready(device=options.device)
        done = score_files(scorer, options.paths, options.out, *how)
    else:
        devices = name_devices(options.devices, options.device)
        scorer = ready(device="cpu")
        done = score_files(scorer, options.paths, options.out, *how, devices, ready)
    earlier = f", {done.earlier:,} of them before" if done.earlier else ""
    print(f"{done.scored + done.failed:,} pictures{earlier}, {done.rate:,.1f} images/s")
    print(f"{done.scored:,} scores by {options.preset} in {options.out}")
    if options.html and done.scored:
        settings = {**scorer.settings, **limit.settings}
        print(write_gallery(options.html, options.out, scorer.names, settings))
    if done.failed:
        print(f"clipiqa: {done.failed:,} without a score, see {done.failures}", file=sys.stderr)
    return 1 if done.failed else 0


def _export(options: argparse.Namespace) -> int:
    import json

    from clipiqa_plus.inference.export import export_scorer
    from clipiqa_plus.inference.scorer import load

    scorer = load(options.preset, options.prompts, options.backbone, device="cpu")
    card = export_scorer(scorer, options.out, options.format)
    largest = json.loads(card.read_text())["largest_deviation"]
    print(f"{options.out}: scores within {largest:.1g} of PyTorch's; card in {card}")
    return 0


def _presets(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from clipiqa_plus.inference.presets import PRESETS

    table = Table(show_lines=True)
    table.add_column("preset", no_wrap=True)
    table.add_column("what it is, and what it fixes", overflow="fold")
    for preset in PRESETS.values():
        position = preset.pos_embedding or "none (grid on a ViT)"
        backbone = f"{preset.backbone}, positional embedding {position}"
        fixed = "backbone and positional embedding of the file" if preset.learned else backbone
        size = f"pictures at their own size, {preset.precision}"
        table.add_row(preset.name, f"{preset.summary}\n{fixed}; {size}\n{preset.source}")
    Console().print(table)
    return 0


def _data_list(options: argparse.Namespace) -> int:
    from rich.console import Console

    from clipiqa_plus.data.check import facts, render_facts

    Console().print(render_facts(facts()))
    return 0


def _data_check(options: argparse.Namespace) -> int:
    from rich.console import Console

    from clipiqa_plus.data.check import check, render_check

    result = check(options.name, options.root)
    Console().print(render_check(result))
    return 0 if result.ok else 1


def _features_info(options: argparse.Namespace) -> int:
    from datetime import datetime

    from rich.console import Console
    from rich.table import Table

    from clipiqa_plus.features import info

    table = Table("store", "backbone", "features", "MB", "last used", "state")
    for store in info(options.dir):
        used = f"{datetime.fromtimestamp(store.last_used):%Y-%m-%d %H:%M}"
        size = f"{store.bytes / 1e6:,.1f}"
        state = store.stale or "in use"
        table.add_row(store.path.name, store.backbone, f"{store.features:,}", size, used, state)
    Console().print(table)
    return 0


def _features_verify(options: argparse.Namespace) -> int:
    from clipiqa_plus.features import verify

    damaged = verify(options.dir)
    for damage in damaged:
        print(f"{damage.path}: {damage.reason}")
    print(f"{len(damaged)} damaged files" if damaged else "every file is what its name says")
    same = options.recipe is None or _encoded_anew(options)
    return 1 if damaged or not same else 0


def _encoded_anew(options: argparse.Namespace) -> bool:
    """Compare cached features of a recipe's pictures with fresh ones; print what was found."""
    from clipiqa_plus.clip.backbone import FrozenCLIP
    from clipiqa_plus.features import FeatureCache
    from clipiqa_plus.training.recipes import data_of, read_recipe

    recipe = read_recipe(options.recipe)
    model = recipe.get("model") or {}
    fixed = {key: model[key] for key in ("pos_embedding", "precision") if key in model}
    clip = FrozenCLIP.from_name(model.get("backbone", "RN50"), **fixed)
    data = data_of(recipe, options.recipe)
    data.setup()
    cache = FeatureCache(**{**(recipe.get("features") or {}), "dir": options.dir})
    found = cache.spot_check(clip, data, options.part, options.samples)
    verdict = "equal" if found.same else "NOT those of these pictures and this backbone"
    print(
        f"{found.compared} features encoded anew, largest difference {found.difference:.1e}: "
        f"{verdict}; {found.missing} not in the cache"
    )
    return found.same


def _features_prune(options: argparse.Namespace) -> int:
    from clipiqa_plus.features import prune

    pruned = prune(options.dir, options.unused_days, options.dry_run)
    for removed in pruned:
        print(f"{removed.path}: {removed.reason}")
    size = sum(removed.bytes for removed in pruned) / 1e6
    print(f"{len(pruned)} files, {size:,.1f} MB {'would be ' if options.dry_run else ''}removed")
    return 0


def _report(options: argparse.Namespace) -> int:
    from clipiqa_plus.report.page import write_report

    print(write_report(options.folder))
    return 0


def _prompts_show(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from clipiqa_plus.prompts.files import read_prompts

    tensors, facts = read_prompts(options.file)
    table = Table(title=options.file, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, tensor in tensors.items():
        shape = " x ".join(map(str, tensor.shape))
        table.add_row(name, f"{shape}, {str(tensor.dtype).removeprefix('torch.')}")
    for name, value in facts.items():
        table.add_row(name, str(value))
    Console().print(table)
    _show_training(options.file)
    _show_words(options, facts)
    return 0


def _show_training(file: str) -> None:
    """Print the training curves of the run that the file lies in, if it does."""
    from rich.console import Console
    from rich.table import Table

    from clipiqa_plus.training.curves import sparkline, training_curves

    curves = training_curves({file: file})
    if curves.empty:
        print(f"no training curves: no logs/version_*/metrics.csv beside {file}")
        return
    table = Table("metric", "first", "last", "last step", "curve", title="training")
    for metric, curve in curves.groupby("metric", sort=False):
        ends = (f"{curve['value'].iloc[at]:.4f}" for at in (0, -1))
        table.add_row(str(metric), *ends, f"{curve['step'].max():,}", sparkline(curve["value"], 32))
    Console().print(table)


def _show_words(options: argparse.Namespace, facts: dict[str, Any]) -> None:
    """Print nearest words and cosines, or why there are none."""
    from rich.console import Console
    from rich.table import Table

    from clipiqa_plus.clip.backbone import FrozenCLIP
    from clipiqa_plus.evaluation.interpolation import pair_cosines
    from clipiqa_plus.prompts.files import load_prompts
    from clipiqa_plus.prompts.nearest_words import nearest_words, text_cosines

    try:
        name = options.backbone or facts["backbone"]
        clip = FrozenCLIP.from_name(name, facts["pos_embedding"])
        prompts = load_prompts(options.file, clip)
    except (OSError, ValueError) as error:
        if options.backbone:
            raise
        print(f"nearest words need the backbone's weights, name them with --backbone: {error}")
        return
    table = Table("context token", "nearest words (distance)", title="vocabulary")
    for token, near in nearest_words(prompts, clip, options.words).items():
        table.add_row(token, ", ".join(f"{n.word} ({n.distance:.3f})" for n in near))
    Console().print(table)
    table = Table("prompt", "cosine", title="learned and zero-shot text features")
    for words, cosine in text_cosines(prompts, clip):
        table.add_row(words, f"{cosine:.3f}")
    Console().print(table)
    along = pair_cosines(prompts, clip)
    title = "cosine of the prompts of a pair, from zero-shot (0) to learned (1)"
    table = Table("pair", *(f"{weight:g}" for weight in along), title=title)
    for pair, cosines in along.iterrows():
        table.add_row(str(pair), *(f"{cosine:.3f}" for cosine in cosines))
    Console().print(table)
    print("scores along the line need pictures: evaluate.py draws them in its report")


def _prompts_import(options: argparse.Namespace) -> int:
    from clipiqa_plus.clip.backbone import FrozenCLIP
    from clipiqa_plus.prompts.files import save_prompts
    from clipiqa_plus.prompts.importers import import_prompts, imported_position

    clip = FrozenCLIP.from_name(options.backbone, imported_position(options.file))
    prompts = import_prompts(options.file, clip)
    print(save_prompts(options.out, prompts, clip, licence=options.licence, reduction="mean"))
    return 0


def _prompts_push(options: argparse.Namespace) -> int:
    from clipiqa_plus.inference.hub import push_to_hub

    print(push_to_hub(options.file, options.repo, options.licence, options.private or None))
    return 0


def _prompts_export(options: argparse.Namespace) -> int:
    from clipiqa_plus.clip.backbone import FrozenCLIP
    from clipiqa_plus.prompts.files import load_prompts, read_prompts
    from clipiqa_plus.prompts.importers import export_pyiqa

    facts = read_prompts(options.file)[1]
    clip = FrozenCLIP.from_name(options.backbone or facts["backbone"], facts["pos_embedding"])
    print(export_pyiqa(options.out, load_prompts(options.file, clip), clip))
    return 0


if __name__ == "__main__":
    sys.exit(main())
