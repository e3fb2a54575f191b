"""Learned prompts on the Hugging Face Hub: the file, and a model card from its metadata."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from clipiqa_plus.inference.scorer import Scorer, load
from clipiqa_plus.prompts.files import (
    HUB,
    PROMPT_FILE,
    find_prompts,
    import_hub,
    read_prompts,
    write_prompts,
)

CARD_FILE = "README.md"

_TAGS = ["image-quality-assessment", "clip", "clip-iqa", "prompt-learning"]

# Metadata shown in a card, with their labels.
_PROMPTS = {
    "backbone": "backbone",
    "weights_sha256": "SHA-256 of its weights",
    "activation": "activation",
    "mean": "mean of its input",
    "std": "standard deviation of its input",
    "pos_embedding": "positional embedding",
    "pairs": "antonym pairs, high score first",
    "n_ctx": "context tokens",
    "position": "position of the words",
    "class_specific": "separate context for each prompt",
    "reduction": "reduction over pairs",
    "steps": "optimizer steps",
}
_TRAINING = {
    "recipe": "recipe",
    "dataset": "data set",
    "dataset_terms": "terms of the data set",
    "split": "split",
    "split_sha256": "SHA-256 of the split",
    "samples": "pictures",
    "mos_range": "MOS scale",
    "seed": "seed",
    "init": "initial context tokens",
    "version": "version of clipiqa_plus",
}


def push_to_hub(
    file: str | PathLike[str],
    repo: str,
    licence: str | None = None,
    private: bool | None = None,
    token: str | None = None,
) -> str:
    """Upload a prompt file with a model card in one commit; create the repository if needed.

    Args:
        file: A prompt file or the folder of a run.
        repo: ``user/repo``.
        licence: See :func:`write_repository`.
        private: Whether a new repository is private; None uses the Hub's default.
        token: Access token; None uses the one stored by ``hf auth login``.

    Returns:
        The address of the repository.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a prompt file of this package, or no licence is known.
        ConnectionError: If the Hub cannot be reached or refuses; gives the reason.
        ImportError: If huggingface_hub is missing.
    """
    hub = import_hub()
    with TemporaryDirectory() as folder:
        write_repository(file, folder, repo, licence)
        try:
            api = hub.HfApi(token=token)
            address = api.create_repo(repo, private=private, exist_ok=True)
            api.upload_folder(
                repo_id=repo, folder_path=folder, commit_message="Prompts by clipiqa_plus"
            )
        except (OSError, ValueError, hub.errors.HTTPError) as error:
            reason = " ".join(str(error).split())
            raise ConnectionError(
                f"{HUB}{repo}: not uploaded ({reason}). Uploading needs a network connection and a "
                "token with write access: 'hf auth login'"
            ) from error
    return str(address)


def from_pretrained(
    source: str | PathLike[str],
    revision: str | None = None,
    backbone: str | None = None,
    device: str | torch.device | None = None,
    differentiable: bool = False,
) -> Scorer:
    """Load learned prompts from the Hub, or from a local folder or file, ready to score.

    Args:
        source: ``user/repo``, or a path; an existing path takes precedence.
        revision: Branch, tag or commit of the repository.
        backbone: See :func:`~clipiqa_plus.inference.scorer.load`.
        device: See :func:`~clipiqa_plus.inference.scorer.load`.
        differentiable: See :func:`~clipiqa_plus.inference.scorer.load`.

    Raises:
        FileNotFoundError: If the prompts cannot be downloaded.
        ValueError: If it is not a prompt file, or a revision is given for a path.
        ImportError: If huggingface_hub is needed and missing.
    """
    if Path(source).exists():
        if revision is not None:
            raise ValueError(f"{source} is a local path, which has no revision {revision}")
    else:
        source = HUB + str(source).removeprefix(HUB) + (f"@{revision}" if revision else "")
    return load("clipiqa+", source, backbone, device, differentiable)


def write_repository(
    file: str | PathLike[str], folder: str | PathLike[str], repo: str, licence: str | None = None
) -> None:
    """Write the files of a repository: ``prompts.safetensors`` and its card, ``README.md``.

    Args:
        file: A prompt file or the folder of a run.
        folder: Target folder, created if needed.
        repo: Name of the repository, for the card.
        licence: The Hub's identifier of a licence, such as ``cc-by-4.0``. Required if the file
            records none; it is then recorded in the copy.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a prompt file of this package, no licence is known, or the file
            records a different one.
        ImportError: If huggingface_hub is missing.
    """
    file, folder = find_prompts(file), Path(folder)
    tensors, facts = read_prompts(file)
    stated = facts.get("licence")
    if stated is None and licence is None:
        raise ValueError(f"{file} states no licence; give one, such as cc-by-4.0")
    if stated is not None and licence is not None and str(stated).lower() != licence.lower():
        raise ValueError(f"{file} states the licence {stated}, not {licence}")
    folder.mkdir(parents=True, exist_ok=True)
    if stated is None:
        facts["licence"] = licence
        write_prompts(folder / PROMPT_FILE, tensors, facts)
    else:
        shutil.copyfile(file, folder / PROMPT_FILE)
    (folder / CARD_FILE).write_text(prompt_card(facts, repo), encoding="utf-8")


def prompt_card(facts: Mapping[str, Any], repo: str) -> str:
    """Return the model card of a prompt file: Markdown, headed by the Hub's metadata.

    Args:
        facts: Metadata of the file, see :func:`~clipiqa_plus.prompts.files.read_prompts`.
        repo: Name of the repository.

    Raises:
        ImportError: If huggingface_hub is missing.
    """
    data = import_hub().ModelCardData(
        license=str(facts["licence"]).lower(),
        library_name="clipiqa-plus",
        tags=_TAGS,
    )
    metrics = {
        _code(name): f"{float(value):.4f}"
        for name, value in (facts.get("metrics") or {}).items()
        if name.startswith(("val/", "test/")) and value is not None
    }
    learned_on = f" on {_code(facts['dataset'])}" if facts.get("dataset") else ""
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# {repo}",
        f"Prompts for image quality assessment (CLIP-IQA+), learned{learned_on} for CLIP "
        f"{_code(facts['backbone'])}. The file holds context tokens; CLIP's weights are not in it.",
        "## Use",
        f'```python\nimport clipiqa_plus as ciq\n\nscorer = ciq.from_pretrained("{repo}")\n'
        'scorer("photo.jpg")\n```',
        f"```bash\nclipiqa score photos/ --preset clipiqa+ --prompts {HUB}{repo} "
        "--out scores.csv\n```",
        "## Prompts",
        _table(_chosen(facts, _PROMPTS)),
        "## Training",
        _table(_chosen(facts, _TRAINING)),
    ]
    if metrics:
        parts += ["## Metrics", "As the training run recorded them.", _table(metrics.items())]
    return "\n\n".join(parts) + "\n"


def _chosen(facts: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for key, name in names.items():
        value = facts.get(key)
        if value is not None:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield name, text


def _table(rows: Any) -> str:
    lines = [f"| {name} | {_code(value)} |" for name, value in rows]
    return "\n".join(["| | |", "|---|---|", *lines])


def _code(text: Any) -> str:
    """Return text from a file as inline code: no HTML, no links, one line."""
    line = " ".join(str(text).split()).replace("`", "'")
    return f"`{line.replace('|', chr(92) + '|')}`" if line else ""
