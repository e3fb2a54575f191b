"""Own words: antonym pairs and the names of their scores."""

from __future__ import annotations

from typing import Any

import pytest

from clipiqa_plus.commands.pairs import words_of
from clipiqa_plus.prompts.scales import PAIRS
from clipiqa_plus.prompts.words import name_pairs

CRISP = ("Crisp photo.", "Soft photo.")


def test_pairs_are_named_after_themselves_or_as_given() -> None:
    assert name_pairs(["quality", CRISP]) == {
        "quality": PAIRS["quality"],
        "Crisp photo. / Soft photo.": CRISP,
    }
    assert name_pairs({"crisp": CRISP}) == {"crisp": CRISP}
    assert name_pairs([PAIRS["sharpness"]]) == {"sharpness": PAIRS["sharpness"]}
    assert name_pairs("quality") == {"quality": PAIRS["quality"]}
    assert list(name_pairs([("=1+1", "b\nc")])) == ["1+1 / b c"]  # no formula, one line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no antonym pair given"),
        (["sharpnes"], "unknown antonym pair 'sharpnes'"),
        ([("Sharp photo.",)], "must be two prompts"),
        ([("Sharp photo.", " ")], "must be two prompts"),
        ([("Sharp photo.", "Sharp photo. ")], "both prompts are the same"),
        ([CRISP, CRISP], "given twice"),
        ([("a", "b / c"), ("a / b", "c")], "two antonym pairs are named 'a / b / c'"),
        ({"": CRISP}, "'' cannot name"),
        ({"=cmd()": CRISP}, "cannot name an antonym pair"),
        ({"two\nlines": CRISP}, "cannot name an antonym pair"),
        ({"image": CRISP}, "'image' cannot name an antonym pair: .* none of backbone, deviation"),
    ],
)
def test_what_cannot_be_scored_or_named_is_refused(words: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        name_pairs(words)


def test_pairs_of_the_command_line() -> None:
    assert words_of(None) is None
    assert words_of([CRISP]) == [CRISP]
    named = words_of([("crisp=Crisp photo.", "Soft photo."), ("Good photo.", "Bad photo.")])
    assert named == {"crisp": CRISP, "quality": ("Good photo.", "Bad photo.")}
    assert words_of([("a photo = good", "bad")]) == [("a photo = good", "bad")]
    with pytest.raises(ValueError, match="two antonym pairs are named 'a'"):
        words_of([("a=Crisp photo.", "Soft photo."), ("a=Good photo.", "Bad photo.")])
    with pytest.raises(ValueError, match="give two prompts, high score first"):
        words_of([("Sharp photo.", "--out")])
