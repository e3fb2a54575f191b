"""A local Hugging Face ``datasets`` folder as user data."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from clipiqa_plus.data.base import IQADataModule
from clipiqa_plus.data.images import RGBImage, read_rgb, to_rgb
from clipiqa_plus.data.tables import check_scale, checked_range, usual_split

_PARTS = {"train": "train", "validation": "val", "val": "val", "dev": "val", "test": "test"}


class HuggingFaceData(IQADataModule):
    """Pictures and scores of a folder that the ``datasets`` library reads; nothing is downloaded.

    The folder was written by ``save_to_disk``, or is readable by ``load_dataset``: pictures with a
    ``metadata.csv``, or Parquet files. Its train, validation and test splits become the parts.

    Args:
        path: The folder.
        mos_range: Lowest and highest score that the scale allows.
        higher_is_better: Whether a higher score means better quality.
        image_column: Column with the pictures.
        mos_column: Column with the scores.
        split: None uses the folder's own splits if it has several, otherwise a random split (by
            content if contents are known).
        **options: The arguments of :class:`~clipiqa_plus.data.base.IQADataModule`.
    """

    title = "Hugging Face folder"

    def __init__(
        self,
        path: str,
        mos_range: tuple[float, float] | None = None,
        higher_is_better: bool = True,
        image_column: str = "image",
        mos_column: str = "mos",
        split: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(root=path, split=split, **options)
        self.mos_range = checked_range(mos_range, str(self.root))
        self.higher_is_better = higher_is_better
        self.image_column = image_column
        self.mos_column = mos_column
        self._split_given = split is not None
        self._rows: Any = None

    def read_annotations(self) -> pd.DataFrame:
        """Read the folder; pictures stay encoded."""
        datasets = _library()
        parts = _load(datasets, self.root)
        for name, part in parts.items():
            for column in (self.image_column, self.mos_column):
                if column not in part.column_names:
                    raise ValueError(
                        f"{self.root}: split {name} has no column {column!r}; there are "
                        f"{', '.join(part.column_names)}. Name the right ones with image_column "
                        "and mos_column"
                    )
        encoded = datasets.Image(decode=False)
        parts = {n: p.cast_column(self.image_column, encoded) for n, p in parts.items()}
        self._rows = datasets.concatenate_datasets(list(parts.values()))
        table = self._rows.remove_columns(self.image_column).to_pandas()
        table = table.drop(columns=["image", "split"], errors="ignore")
        table = table.rename(columns={self.mos_column: "mos"})
        ids = [f"{name}/{index}" for name, part in parts.items() for index in range(len(part))]
        table.insert(0, "image", ids)
        if len(parts) > 1:
            table["split"] = [_PARTS[name.partition("/")[0]] for name in ids]
        if not self._split_given:
            self.split_kind = usual_split(table)
        check_scale(table, self.targets, self.mos_range, self.label)
        return table

    def check_pictures(self) -> None:
        """Do nothing: pictures are in the rows, or were located when the folder was read."""

    def reader(self) -> EncodedReader:
        """Return the reader that decodes the picture of a row."""
        ids = self.annotations["image"].tolist()
        return EncodedReader(self._rows, self.image_column, self.root, ids)


class EncodedReader:
    """Decodes the picture of a row of a ``datasets`` table.

    Args:
        rows: The table, with pictures left encoded.
        column: Column with the pictures.
        root: Folder, for error messages.
        ids: Sample id of each row, for error messages.
    """

    def __init__(self, rows: Any, column: str, root: Path, ids: list[str]) -> None:
        self.rows = rows
        self.column = column
        self.root = root
        self.ids = ids

    def __call__(self, row: int) -> RGBImage:
        """Return the picture of a row: uint8 [H, W, 3], RGB."""
        content, path = self._encoded(row)
        if content is None:
            return read_rgb(path)
        try:
            with Image.open(io.BytesIO(content)) as image:
                return to_rgb(image)
        except (OSError, ValueError, SyntaxError) as error:
            raise ValueError(
                f"{self.root}: {self.ids[row]}: not a readable image ({error}); replace the "
                "picture or remove its row"
            ) from error

    def identity(self, row: int) -> str:
        """Return a string that changes whenever the picture of a row may have changed."""
        content, path = self._encoded(row)
        return hashlib.sha256(Path(path).read_bytes() if content is None else content).hexdigest()

    def _encoded(self, row: int) -> tuple[bytes | None, str]:
        cell = self.rows[row][self.column]
        return cell["bytes"], cell["path"]


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            "reading a Hugging Face folder needs the datasets library: pip install datasets"
        ) from error
    return datasets


def _load(datasets: Any, root: Path) -> dict[str, Any]:
    """Return the splits of a folder by name."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    saved = (root / "dataset_dict.json").is_file() or (root / "state.json").is_file()
    try:
        found = datasets.load_from_disk(str(root)) if saved else datasets.load_dataset(str(root))
    except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
        raise ValueError(f"{root}: not a folder that datasets can read ({error})") from error
    parts = dict(found) if isinstance(found, dict) else {"train": found}
    unknown = [name for name in parts if name not in _PARTS]
    if unknown:
        raise ValueError(f"{root}: split {unknown[0]!r}; splits are named {', '.join(_PARTS)}")
    return parts
