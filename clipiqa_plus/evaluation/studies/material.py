"""What a study works on: a recipe's data and the features of its plain pictures."""

from __future__ import annotations

import torch

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.data.base import IQADataModule
from clipiqa_plus.features import FeatureCache


def check_ratings(data: IQADataModule, fewest: int = 3) -> None:
    """Refuse data of which nothing can be learned.

    Args:
        data: The data, set up.
        fewest: Rated pictures that the training part must have.

    Raises:
        ValueError: If the training part is smaller, or the MOS of a target is constant in it.
    """
    mos = data.mos[data.rows("train")]
    if len(mos) < fewest:
        raise ValueError(
            f"{data.label}: {len(mos)} rated pictures in the training part; this takes {fewest}"
        )
    for index, target in enumerate(data.targets):
        if (mos[:, index] == mos[0, index]).all():
            raise ValueError(
                f"{data.label}: {target} is constant over the training part: there is nothing to "
                "learn; correct the label file"
            )


def plain_features(
    recipe: dict[str, object],
    data: IQADataModule,
    parts: list[str],
    backbone: str | None = None,
    dir: str | None = None,
    device: str | None = None,
) -> tuple[FrozenCLIP, dict[str, torch.Tensor]]:
    """Return the backbone of a recipe and the features of the plain pictures of its data.

    Args:
        recipe: The recipe.
        data: Its data, set up; its training views are replaced by the plain one.
        parts: Parts to take.
        backbone: Name or weights file; None takes the recipe's, or RN50.
        dir: Folder of the features.
        device: Where to encode and to keep them; None takes the GPU if there is one.

    Returns:
        The backbone, and by part features float32 [N, D] in the order of its rows.
    """
    model = recipe.get("model") or {}
    assert isinstance(model, dict)
    fixed = {key: model[key] for key in ("pos_embedding", "precision") if key in model}
    name = backbone or model.get("backbone", "RN50")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    clip = FrozenCLIP.from_name(name, **fixed).to(device)
    data.train_views = data.eval_views
    cache = recipe.get("features") or {}
    assert isinstance(cache, dict)
    cache = FeatureCache(**{**cache, **({"dir": dir} if dir else {})})
    tables = cache.tables(clip, data, parts)
    return clip, {part: tables[part].features.float() for part in parts}
