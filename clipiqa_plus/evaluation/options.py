"""The options of evaluate.py."""

from __future__ import annotations

import torch
from jsonargparse import ArgumentParser

from clipiqa_plus.features import FeatureCache


def evaluation_parser(description: str | None) -> ArgumentParser:
    """Return the parser of evaluate.py's command line.

    Args:
        description: What ``--help`` says first.
    """
    parser = ArgumentParser(description=description)
    add = parser.add_argument
    add(
        "--prompts",
        nargs="+",
        default=["zero_shot"],
        help="zero_shot, files, runs; NAME=PATH",
    )
    add(
        "--data",
        nargs="+",
        default=["configs/demo.yaml"],
        help="recipes with a data section, short names of benchmarks, or configs/benchmarks.yaml",
    )
    add("--root", type=str | None, help="folder of all benchmarks (default: data)")
    add("--part", default="test", choices=["train", "val", "test"], help="part to evaluate")
    add("--repeats", type=int, default=0, help="test on so many random splits instead")
    add("--train", type=str | None, help="with --repeats: recipe to learn by in each split")
    add("--backbone", type=str | None, help="default: as learned, or the recipe's, or RN50")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where to compute")
    add("--out", default="runs/evaluation", help="folder for results and scores per picture")
    add("--report", type=str | None, help="where the HTML page goes (default: OUT/report.html)")
    add("--wandb", type=str | None, help="also log to this Weights & Biases project")
    add("--tensorboard", type=str | None, help="also log to this folder, for TensorBoard")
    add("--thumbnails", type=int, default=300, help="pictures of a data set shown in the report")
    parser.add_class_arguments(FeatureCache, "features")
    return parser
