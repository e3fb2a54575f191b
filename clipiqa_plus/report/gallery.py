"""One offline page with the best and the worst pictures of a file of scores."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from clipiqa_plus.inference.bulk.inputs import picture_named
from clipiqa_plus.inference.bulk.pictures import NO_LIMIT, decode

if TYPE_CHECKING:
    import pandas as pd

_CHUNK = 50_000
_PIXELS = 240

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Scores by {{ settings.preset }}</title>
<meta name="viewport" content="width=device-width"><style>
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem }
div { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)) }
figure { margin: 0 } img { width: 100%; height: 11rem; object-fit: contain }
figcaption { font-size: 13px; overflow-wrap: anywhere }
</style></head><body>
<h1>{{ "{:,}".format(count) }} pictures scored by {{ settings.preset }}</h1>
<p>Backbone {{ settings.backbone }} (weights {{ settings.weights_sha256[:12] }}), {{ file }}
{%- if settings.oversize == "resize" %}; resized before scoring: pictures above
{{ "{:,}".format(settings.max_pixels) }} pixels{% endif %}</p>
{% for title, tiles in sections %}<h2>{{ title }}</h2><div>{% for tile in tiles %}
<figure>{% if tile.source %}<img src="{{ tile.source }}" alt="{{ tile.name }}">{% endif %}
<figcaption><b>{{ "%.3f"|format(tile.score) }}</b> {{ tile.name }}</figcaption></figure>{% endfor %}
</div>{% endfor %}
</body></html>
"""


def write_gallery(
    page: str | PathLike[str],
    scores: str | PathLike[str],
    names: Sequence[str],
    settings: dict[str, Any],
    most: int = 24,
) -> Path:
    """Write the best pictures (best first) and the worst (worst first) to an HTML page.

    Args:
        page: HTML file to write; replaced only when complete.
        scores: File of scores that :func:`~clipiqa_plus.inference.bulk.score_files` completed.
        names: Columns of scores to show.
        settings: Settings of the scorer and of the size limit.
        most: Largest number of best and of worst pictures.

    Returns:
        The page.
    """
    import pandas as pd
    from jinja2 import Environment

    empty = pd.DataFrame()
    best = worst = dict.fromkeys(names, empty)
    count = 0
    for chunk in _chunks(Path(scores)):
        count += len(chunk)
        best = {n: pd.concat([best[n], chunk]).nlargest(most, n) for n in names}
        worst = {n: pd.concat([worst[n], chunk]).nsmallest(most, n) for n in names}
    sections = []
    for name in names:
        for title, rows in ((f"Highest {name}", best[name]), (f"Lowest {name}", worst[name])):
            shown = zip(rows["image"], rows[name], strict=True) if count else ()
            tiles = [{"name": i, "score": s, "source": _thumbnail(i)} for i, s in shown]
            sections.append((title, tiles))
    text = (
        Environment(autoescape=True)
        .from_string(_PAGE)
        .render(settings=settings, count=count, file=Path(scores).name, sections=sections)
    )
    page = Path(page)
    page.parent.mkdir(parents=True, exist_ok=True)
    unfinished = page.with_name(f".{page.name}.{os.getpid()}.part")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, page)
    return page


def _chunks(path: Path) -> Iterator[pd.DataFrame]:
    import pandas as pd
    import pyarrow.parquet as pq

    if path.suffix == ".parquet":
        yield from (batch.to_pandas() for batch in pq.ParquetFile(path).iter_batches(_CHUNK))
    elif path.suffix == ".jsonl":
        yield from pd.read_json(path, lines=True, chunksize=_CHUNK, dtype={"image": str})
    else:  # a picture may be called NA
        yield from pd.read_csv(path, chunksize=_CHUNK, dtype={"image": str}, keep_default_na=False)


def _thumbnail(name: str) -> str | None:
    """Return a thumbnail as a data URL, or None if the picture no longer exists."""
    picture = picture_named(name)
    pixels = None if picture is None else decode(picture, 1, NO_LIMIT).image
    if pixels is None:
        return None
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    image.thumbnail((_PIXELS, _PIXELS))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
