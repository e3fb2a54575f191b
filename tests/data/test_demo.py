import csv
import itertools
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from clipiqa_plus.data import demo
from clipiqa_plus.data.demo import DISTORTIONS, LEVELS, DemoIQA, demo_annotations, render

NAMES = sorted(DISTORTIONS)


@pytest.fixture(scope="module")
def table():
    return demo_annotations()


@pytest.fixture(scope="module")
def module():
    module = DemoIQA(num_workers=0, batch_size=40)
    module.setup()
    return module


@pytest.fixture
def photo(module):
    return module.reader()(0)


def licences():
    with (demo.demo_root() / "LICENSES.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_photograph_has_one_licence_row_and_every_row_a_photograph(table):
    files = sorted(path.name for path in demo.demo_root().iterdir() if path.suffix != ".csv")
    assert sorted(row["file"] for row in licences()) == files
    assert sorted(set(table["content"])) == files
    assert len(files) == 24


def test_licences_are_free_and_each_record_is_complete():
    for row in licences():
        assert row["licence"] in ("Public domain", "CC0-1.0"), row
        assert all(value.strip() for value in row.values()), row


def test_photographs_are_small_and_of_one_size():
    files = list(demo.demo_root().glob("*.jpg"))
    assert sum(path.stat().st_size for path in files) < 3e6
    for path in files:
        with Image.open(path) as image:
            assert (image.size, image.mode) == ((320, 240), "RGB"), path.name


def test_table_has_every_photograph_at_every_distortion_and_level(table):
    assert len(table) == DemoIQA.count == 24 * (1 + len(DISTORTIONS) * LEVELS)
    assert table["image"].is_unique
    counts = table.groupby("content").size()
    assert set(counts) == {1 + len(DISTORTIONS) * LEVELS}
    assert table.loc[table["level"] == 0, "distortion"].eq("none").all()


def test_no_content_is_in_two_parts(table):
    assert table.groupby("content")["split"].nunique().max() == 1
    contents = table.drop_duplicates("content")["split"].value_counts()
    assert contents.to_dict() == {"train": 13, "test": 8, "val": 3}


def test_scores_are_the_same_everywhere_and_in_range(table):
    assert table["mos"].between(0, 100).all()
    assert demo_annotations().equals(table)
    # Written down once: guards against a hash, a random stream or a formula that changes.
    mos = table.set_index("image")["mos"]
    assert mos["cat.jpg/none_0"] == pytest.approx(88.54, abs=1e-9)
    assert mos["crab.jpg/jpeg_3"] == pytest.approx(26.31, abs=1e-9)


def test_scores_follow_the_formula_with_an_error_of_three_points(table):
    truth = [
        90.0 if level == 0 else 90 - DISTORTIONS[name][2] * (level / 4) ** 0.8
        for name, level in zip(table["distortion"], table["level"], strict=True)
    ]
    error = table["mos"] - truth
    # 792 draws: the mean is within 4 standard errors (0.11), the deviation within 10 %.
    assert abs(error.mean()) < 0.45
    assert error.std() == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_the_score_falls_with_the_level(name):
    scores = [demo.opinion_score(name, level) for level in range(LEVELS + 1)]
    assert scores[0] == 90
    assert all(a > b for a, b in itertools.pairwise(scores))


@pytest.mark.parametrize("name", NAMES)
def test_the_picture_departs_further_with_the_level(name, photo):
    pictures = [render(photo, name, level, seed=7) for level in range(LEVELS + 1)]
    errors = [np.mean((p.astype(float) - photo) ** 2) for p in pictures]
    assert all(p.shape == photo.shape and p.dtype == np.uint8 for p in pictures)
    assert errors[0] == 0
    # The direction of motion is drawn anew per seed but is the same here for all levels.
    assert all(a < b for a, b in itertools.pairwise(errors)), errors


@pytest.mark.parametrize("name", NAMES)
def test_rendering_is_bit_identical_on_one_and_two_threads(name, photo):
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        one = render(photo, name, 3, seed=11)
        render(photo, name, 3, seed=12)  # moves the pipeline's generator on
        cv2.setNumThreads(2)
        two = render(photo, name, 3, seed=11)
    finally:
        cv2.setNumThreads(threads)
    np.testing.assert_array_equal(one, two)


def test_noise_differs_between_seeds(photo):
    assert (render(photo, "gaussian_noise", 2, 1) != render(photo, "gaussian_noise", 2, 2)).any()


def test_rendering_leaves_the_photograph_alone(photo):
    before = photo.copy()
    for name in NAMES:
        render(photo, name, LEVELS, seed=3)
    np.testing.assert_array_equal(photo, before)


def test_unknown_distortions_and_levels_name_the_known_ones(photo):
    with pytest.raises(ValueError, match="gaussian_blur"):
        render(photo, "rain", 1, 0)
    with pytest.raises(ValueError, match="0 to 4"):
        demo.opinion_score("jpeg", 5)


def test_module_gives_normalised_batches_of_the_declared_parts(module, table):
    sizes = {part: len(module.rows(part)) for part in ("train", "val", "test")}
    assert sizes == {"train": 13 * 33, "val": 3 * 33, "test": 8 * 33}
    batch = next(iter(module.test_dataloader()))
    rows = batch["id"].numpy()
    assert batch["image"].shape == (40, 3, 240, 320)
    np.testing.assert_allclose(batch["mos"][:, 0], table["mos"].to_numpy()[rows] / 100, rtol=1e-6)
    assert set(table["split"].to_numpy()[rows]) == {"test"}


def test_two_readers_render_the_same_bits(module, tmp_path):
    rows = [int(row) for row in module.rows("test")[:33]]
    other = DemoIQA(num_workers=0)
    other.setup()
    for row in reversed(rows):
        np.testing.assert_array_equal(other.reader()(row), module.reader()(row))


def test_identity_differs_between_all_rows(module):
    reader = module.reader()
    identities = [reader.identity(row) for row in range(len(module.annotations))]
    assert len(set(identities)) == len(identities)
    assert not any(re.search(re.escape(str(module.root)), text) for text in identities)


def test_missing_photographs_are_named(tmp_path):
    for path in demo.demo_root().glob("*.jpg"):
        if path.name != "cat.jpg":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(FileNotFoundError, match=r"cat\.jpg"):
        DemoIQA(root=tmp_path).setup()


def test_root_is_found_without_being_named():
    assert DemoIQA().root == Path(demo.demo_root())
