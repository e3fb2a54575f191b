"""The line between zero-shot and learned: its ends are the sources themselves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.evaluation.interpolation import along, between, interpolate, pair_cosines
from clipiqa_plus.module import CLIPIQAPlus, PromptConfig
from clipiqa_plus.prompts.sources import ContextPrompts, ZeroShotPrompts


@pytest.fixture
def learned(clip: FrozenCLIP) -> CLIPIQAPlus:
    source = CLIPIQAPlus(clip, prompts=PromptConfig(seed=3))
    assert isinstance(source.prompts, ContextPrompts)
    source.prompts.steps += 1
    return source.eval()


def test_text_features_lie_between_and_have_length_one(clip: FrozenCLIP) -> None:
    prompts = ContextPrompts(clip, ["quality", "sharpness"], seed=1)
    line = between(prompts, clip, steps=4)
    assert list(line) == [0, 0.25, 0.5, 0.75, 1]
    with torch.no_grad():
        fixed, mine = ZeroShotPrompts(prompts.pairs)(clip), prompts(clip)
    torch.testing.assert_close(line[0], fixed)
    torch.testing.assert_close(line[1], mine)
    middle = fixed + mine  # of two unit vectors: as near to one as to the other
    torch.testing.assert_close(line[0.5], middle / middle.norm(dim=-1, keepdim=True))
    assert all(torch.allclose(t.norm(dim=-1), torch.ones(2, 2)) for t in line.values())


def test_pair_cosines_by_hand(clip: FrozenCLIP) -> None:
    prompts = ContextPrompts(clip, ["quality"], seed=1)
    found = pair_cosines(prompts, clip, steps=2)
    assert found.index.tolist() == ["Good photo. / Bad photo."]
    with torch.no_grad():
        high, low = prompts(clip)[0]
    expected = float(torch.cosine_similarity(high, low, dim=0))
    assert found[1.0].tolist() == pytest.approx([expected], abs=1e-6)


def test_ends_score_as_the_sources_do(learned: CLIPIQAPlus, clip: FrozenCLIP) -> None:
    fixed = CLIPIQAPlus(clip, prompts=PromptConfig(mode="zero_shot"))
    features = torch.nn.functional.normalize(torch.randn(9, clip.dim), dim=-1)
    ids = np.arange(20, 29)
    sources = {"zero_shot": fixed, "learned": learned}
    found = interpolate(sources, dict.fromkeys(sources, features), ids, ["mos"])
    assert found["source"].unique().tolist() == ["learned"]
    assert len(found) == 21 * 9
    with torch.no_grad():
        for weight, source in ((0.0, fixed), (1.0, learned)):
            part = found[found["weight"] == weight]
            assert part["id"].tolist() == ids.tolist()
            # 100 x cosine amplifies the rounding of a second normalisation.
            expected = source.score_features(features)[:, 0].numpy()
            np.testing.assert_allclose(part["score"], expected, atol=1e-5)
    assert interpolate({"zero_shot": fixed}, {"zero_shot": features}, ids, ["mos"]).empty


def test_summary_along_the_line() -> None:
    rng = np.random.default_rng(0)
    scores = pd.DataFrame({"id": range(30), "mos": rng.permutation(30) / 30})
    drawn = {w: rng.uniform(size=30) for w in (0.0, 1.0)}
    parts = [
        pd.DataFrame({"source": "a", "weight": w, "id": range(30), "score": s})
        for w, s in drawn.items()
    ]
    found = along(pd.concat(parts).sample(frac=1, random_state=0), scores).sort_values("weight")
    for row, score in zip(found.itertuples(), drawn.values(), strict=True):
        expected = scipy.stats.spearmanr(score, scores["mos"]).statistic
        assert pytest.approx(expected) == row.SRCC
        lowest = score[np.argsort(scores["mos"])[:10]]
        assert row.lowest == pytest.approx(lowest.mean())
        assert row.highest == pytest.approx(score[np.argsort(scores["mos"])[20:]].mean())


def test_within_contents_the_line_is_compared_within_them() -> None:
    scores = pd.DataFrame({"id": range(8), "content": list("aaaabbbb"), "within_content": True})
    scores["mos"] = [1, 2, 3, 4, 1, 2, 3, 4]
    way = pd.DataFrame({"source": "a", "weight": 1.0, "id": range(8)})
    way["score"] = [1, 2, 3, 4, 101, 102, 104, 103]
    assert along(way, scores)["SRCC"].tolist() == pytest.approx([(1 + 0.8) / 2])


def test_what_has_no_correlation_is_none() -> None:
    scores = pd.DataFrame({"id": [0, 1], "mos": [0.1, 0.9]})
    way = pd.DataFrame({"source": "a", "weight": 1.0, "id": [0, 1], "score": [0.2, 0.3]})
    found = along(way, scores)
    assert found["SRCC"].isna().all()
    assert found["highest"].isna().all()
