"""Test pictures on which the prompts were trained."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from clipiqa_plus.data.base import IQADataModule
from clipiqa_plus.data.splits import load_split
from clipiqa_plus.evaluation.comparison import Comparison
from clipiqa_plus.inference.probes import Source, read_facts, source_file
from clipiqa_plus.prompts.files import find_prompts


def seen_note(source: Source, data: IQADataModule, part: str) -> str:
    """Return a note on how many pictures of a part a source was trained on; empty for none.

    Taken from the prompt file's record of its split, or from the split in the run folder.

    Args:
        source: The source.
        data: The data set, set up.
        part: ``train``, ``val`` or ``test``.
    """
    file = source_file(source)
    if file is None:
        return ""
    path = find_prompts(file)
    folder = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    rows, facts = data.rows(part), read_facts(path)
    known = [facts, *facts.get("sets", {}).values()]  # of a mixture, each set has its own split
    if any(part.get("split_sha256") == data.split.digest for part in known):
        trained = data.rows("train")
    elif (folder / "split.json").is_file():
        try:
            trained = load_split(folder / "split.json", data.annotations["image"]).train
        except ValueError:  # of other sample ids
            return _unknown(facts, data)
    else:
        return _unknown(facts, data)
    seen = len(np.intersect1d(trained, rows))
    return f"trained on {seen} of these {len(rows)} pictures" if seen else ""


def _unknown(facts: Mapping[str, object], data: IQADataModule) -> str:
    same = bool(data.name) and facts.get("dataset") == data.title
    return "possibly trained on some of these pictures: its split is unknown" if same else ""


def with_notes(compared: Comparison, notes: Mapping[str, str]) -> Comparison:
    """Prepend notes on sources to the notes of their rows.

    Args:
        compared: Tables of a data set.
        notes: Notes by source; empty ones are omitted.
    """

    def noted(row: Mapping[str, str]) -> str:
        sources = [row[column] for column in ("prompts", "against") if column in row]
        given = [f"{s}: {notes[s]}" for s in sources if notes.get(s)]
        return "; ".join([*given, *filter(None, [row["note"]])])

    tables = []
    for table in compared:
        rows = table.to_dict("records")
        tables.append(table.assign(note=[noted(row) for row in rows]))
    return Comparison(*tables)
