"""The metric classes: against the functions, over batches, copies, orders and real processes."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, distributed, multiprocessing
from torch.utils.data import DistributedSampler, TensorDataset

from clipiqa_plus.metrics import classes as metrics
from clipiqa_plus.metrics.classes import (
    KRCC,
    PLCC,
    RMSE,
    SRCC,
    IQAMetric,
    full_iqa_metrics,
    iqa_metrics,
)

CLASSES = [SRCC, PLCC, KRCC, RMSE]
each_class = pytest.mark.parametrize("metric_class", CLASSES)


def related(size: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Float32 predictions in [0, 1], float32 targets with ties, and ids in no order."""
    generator = torch.Generator().manual_seed(seed)
    prediction = torch.rand(size, generator=generator)
    target = ((prediction + torch.rand(size, generator=generator)) * 5).round() / 10
    ids = torch.randperm(10 * size, generator=generator)[:size]
    return prediction, target, ids


def expected_values(prediction: Tensor, target: Tensor) -> dict[str, float]:
    x, y = prediction.double().numpy(), target.double().numpy()
    return {
        "SRCC": stats.spearmanr(x, y).statistic,
        "PLCC": stats.pearsonr(x, y).statistic,
        "KRCC": stats.kendalltau(x, y).statistic,
        "RMSE": math.sqrt(((x - y) ** 2).mean()),
    }


# --- One process ---


@each_class
def test_equals_scipy_over_batches(metric_class: type[IQAMetric]) -> None:
    prediction, target, ids = related(37)
    metric = metric_class()
    for batch in torch.arange(37).split(8):
        metric.update(prediction[batch], target[batch], ids[batch])
    value = metric.compute()
    assert value.dtype == torch.float64
    assert value.shape == ()
    expected = expected_values(prediction, target)[metric_class.__name__]
    assert value.item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric_class", [PLCC, RMSE])
def test_logistic_equals_the_function(metric_class: type[PLCC] | type[RMSE]) -> None:
    prediction, target, _ = related(37)
    metric = metric_class(logistic=True)
    metric.update(prediction, target, torch.arange(37))
    function = getattr(metrics, metric_class.__name__.lower())
    assert metric.compute() == function(prediction, target, logistic=True)
    assert metric.compute() != function(prediction, target)


@pytest.mark.slow
@given(
    size=st.integers(3, 20),
    copies=st.integers(0, 10),
    batch_size=st.integers(1, 12),
    seed=st.integers(0, 999),
)
@settings(derandomize=True, deadline=None, max_examples=25)
def test_order_batches_and_noisy_copies_leave_no_trace(
    size: int, copies: int, batch_size: int, seed: int
) -> None:
    prediction, target, ids = related(size, seed)
    if target.unique().numel() < 2:
        return
    generator = torch.Generator().manual_seed(seed)
    copied = torch.randint(size, (copies,), generator=generator)
    noise = 9e-5 * torch.rand(copies, generator=generator)
    prediction = torch.cat([prediction, prediction[copied] + noise])
    target, ids = torch.cat([target, target[copied]]), torch.cat([ids, ids[copied]])
    values = []
    for _ in range(2):
        order = torch.randperm(size + copies, generator=generator)
        srcc, plcc = SRCC(), PLCC()
        for batch in order.split(batch_size):
            srcc.update(prediction[batch], target[batch], ids[batch])
            plcc.update(prediction[batch], target[batch], ids[batch])
        values.append((srcc.compute().item(), plcc.compute().item()))
    assert values[0] == values[1]  # to the last bit
    expected = expected_values(prediction[:size], target[:size])
    assert values[0] == pytest.approx((expected["SRCC"], expected["PLCC"]), abs=1e-12)


def test_two_targets_of_one_sample_are_an_error() -> None:
    metric = PLCC()
    metric.update(torch.rand(4), torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([7, 8, 9, 8]))
    with pytest.raises(ValueError, match=r"sample id 8: two targets, (2.0 and 4.0|4.0 and 2.0)"):
        metric.compute()


def test_two_predictions_of_one_sample_are_an_error_beyond_the_tolerance() -> None:
    prediction, ids = torch.tensor([0.1, 0.3, 0.2, 0.301]), torch.tensor([7, 8, 9, 8])
    target = torch.tensor([1.0, 2.0, 3.0, 2.0])
    metric = SRCC()
    metric.update(prediction, target, ids)
    with pytest.raises(
        ValueError, match=r"sample id 8: two predictions, 0\.3\S+ and 0\.3\S+, differ"
    ):
        metric.compute()
    lenient = SRCC(tolerance=2e-3)
    lenient.update(prediction, target, ids)
    expected = stats.spearmanr([0.1, 0.3, 0.2], [1, 2, 3]).statistic
    assert lenient.compute().item() == pytest.approx(expected, abs=1e-12)


@each_class
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_value_that_is_not_finite_is_named_by_its_id(
    metric_class: type[IQAMetric], bad: float
) -> None:
    metric = metric_class()
    metric.update(torch.tensor([0.1, bad, 0.3]), torch.ones(3), torch.tensor([40, 41, 42]))
    with pytest.raises(ValueError, match=f"sample id 41: prediction is {bad}"):
        metric.compute()
    metric.reset()
    metric.update(torch.rand(3), torch.tensor([1.0, 2.0, bad]), torch.tensor([40, 41, 42]))
    with pytest.raises(ValueError, match=f"sample id 42: target is {bad}"):
        metric.compute()


def test_wrong_shapes_and_ids_are_named() -> None:
    metric, ids = SRCC(), torch.arange(4)
    with pytest.raises(ValueError, match=r"same shape \[B\], got \[\[4\], \[3\], \[4\]\]"):
        metric.update(torch.rand(4), torch.rand(3), ids)
    with pytest.raises(ValueError, match=r"same shape \[B\], got \[\[4, 1\], \[4, 1\], \[4\]\]"):
        metric.update(torch.rand(4, 1), torch.rand(4, 1), ids)
    with pytest.raises(ValueError, match=r"same shape \[B\], got \[\[4\], \[4\], \[1\]\]"):
        metric.update(torch.rand(4), torch.rand(4), torch.tensor(0))
    with pytest.raises(ValueError, match=r"ids must be integers, got torch\.float32"):
        metric.update(torch.rand(4), torch.rand(4), ids.float())


@each_class
def test_batch_of_one_is_nan_with_one_warning(metric_class: type[IQAMetric]) -> None:
    metric = metric_class()
    with pytest.warns(UserWarning, match="1 samples, at least") as caught:
        value = metric(torch.tensor([0.5]), torch.tensor([0.3]), torch.tensor([0]))
    assert len(caught) == 1
    assert math.isnan(value)


@pytest.mark.parametrize("metric_class", [SRCC, PLCC, KRCC])
def test_constant_input_is_nan_with_one_warning(metric_class: type[IQAMetric]) -> None:
    metric = metric_class()
    metric.update(torch.full((5,), 0.1), torch.rand(5), torch.arange(5))
    with pytest.warns(UserWarning, match="all 5 predictions are 0.1") as caught:
        assert math.isnan(metric.compute())
    assert len(caught) == 1


@each_class
def test_scalars_and_batches_of_one_add_up(metric_class: type[IQAMetric]) -> None:
    prediction, target, ids = related(9)
    metric = metric_class()
    for p, t, i in zip(prediction, target, ids, strict=True):  # shape []
        metric.update(p, t, i)
    expected = expected_values(prediction, target)[metric_class.__name__]
    assert metric.compute().item() == pytest.approx(expected, abs=1e-12)


def test_nothing_seen_is_nan() -> None:
    with pytest.warns(UserWarning, match="0 samples, at least 3 are needed"):
        assert math.isnan(SRCC().compute())


def test_state_is_detached_double_and_independent_of_the_batch() -> None:
    prediction = torch.tensor([0.1, 0.4, 0.2], dtype=torch.bfloat16, requires_grad=True)
    target = torch.tensor([0.1, 0.2, 0.4], dtype=torch.float64)
    metric = PLCC()
    metric.update(prediction, target, torch.arange(3, dtype=torch.int32))
    assert [metric.predictions[0].dtype, metric.targets[0].dtype] == [torch.float64] * 2
    assert metric.sample_ids[0].dtype == torch.int64
    assert not metric.predictions[0].requires_grad
    value = metric.compute()
    assert not value.requires_grad
    target.zero_()  # a caller reuses its buffer
    metric.update(torch.tensor([0.9]), torch.tensor([0.8]), torch.tensor([3]))
    exact = prediction.detach().double().tolist()
    assert value.item() == pytest.approx(stats.pearsonr(exact, [0.1, 0.2, 0.4]).statistic)
    assert metric.compute().item() == pytest.approx(
        stats.pearsonr([*exact, 0.9], [0.1, 0.2, 0.4, 0.8]).statistic, abs=1e-7
    )


def test_mps_keeps_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """MPS has no float64. Only the choice of dtypes can be seen without such a device."""
    monkeypatch.setattr(SRCC, "device", torch.device("mps"))
    assert SRCC()._dtypes() == (torch.float32, torch.float32, torch.int64)


def test_forward_gives_the_batch_and_keeps_the_whole() -> None:
    prediction, target, ids = related(20)
    metric = SRCC()
    for half in (slice(0, 10), slice(10, 20)):
        value = metric(prediction[half], target[half], ids[half])
        expected = expected_values(prediction[half], target[half])["SRCC"]
        assert value.item() == pytest.approx(expected, abs=1e-12)
    expected = expected_values(prediction, target)["SRCC"]
    assert metric.compute().item() == pytest.approx(expected, abs=1e-12)


def test_reset_forgets() -> None:
    metric = RMSE()
    metric.update(torch.ones(5), torch.zeros(5), torch.arange(5))
    metric.reset()
    metric.update(torch.full((5,), 0.5), torch.zeros(5), torch.arange(5))
    assert metric.compute().item() == 0.5


def test_merge_state_joins_two_metrics() -> None:
    prediction, target, ids = related(20)
    first, second = SRCC(), SRCC()
    first.update(prediction[:12], target[:12], ids[:12])
    second.update(prediction[10:], target[10:], ids[10:])
    first.merge_state(second)
    expected = expected_values(prediction, target)["SRCC"]
    assert first.compute().item() == pytest.approx(expected, abs=1e-12)


@each_class
def test_declared_facts(metric_class: type[IQAMetric]) -> None:
    assert metric_class.is_differentiable is False
    assert metric_class.full_state_update is False
    assert metric_class.higher_is_better is (metric_class is not RMSE)


@each_class
def test_plot(metric_class: type[IQAMetric]) -> None:
    matplotlib = pytest.importorskip("matplotlib", reason="plots need matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    metric = metric_class()
    metric.update(*related(10))
    _, axes = metric.plot()
    assert axes.get_ylim()[0] <= (0 if metric_class is RMSE else -1)
    _, axes = metric.plot([metric.compute(), metric.compute()])
    assert len(axes.get_lines()[0].get_xdata()) == 2
    pyplot.close("all")


# --- Collections ---


def test_collections_name_and_compute_all_from_one_state() -> None:
    prediction, target, ids = related(30)
    small, full = iqa_metrics("val/"), full_iqa_metrics()
    for batch in torch.arange(30).split(7):
        small.update(prediction[batch], target[batch], ids[batch])
        full.update(prediction=prediction[batch], target=target[batch], sample_id=ids[batch])
    expected = expected_values(prediction, target)
    assert {name: value.item() for name, value in small.compute().items()} == pytest.approx(
        {"val/SRCC": expected["SRCC"], "val/PLCC": expected["PLCC"]}, abs=1e-12
    )
    for name in ("plcc", "rmse"):
        function = getattr(metrics, name)
        expected[f"{name.upper()}_logistic"] = function(prediction, target, logistic=True).item()
    assert {name: value.item() for name, value in full.compute().items()} == pytest.approx(
        expected, abs=1e-12
    )
    # One group: the samples are kept and gathered once, not six times.
    assert [len(group) for group in full.compute_groups.values()] == [6]


def test_collection_goes_on_after_compute_and_starts_anew_after_reset() -> None:
    prediction, target, ids = related(30)
    collection = full_iqa_metrics()
    collection.update(prediction[:10], target[:10], ids[:10])
    collection.compute()
    collection.update(prediction[10:], target[10:], ids[10:])
    expected = expected_values(prediction, target)
    values = collection.compute()
    assert {name: values[name].item() for name in expected} == pytest.approx(expected, abs=1e-12)
    collection.reset()
    collection.update(prediction[:10], target[:10], ids[:10])
    expected = expected_values(prediction[:10], target[:10])
    values = collection.compute()
    assert {name: values[name].item() for name in expected} == pytest.approx(expected, abs=1e-12)


# --- Two processes ---

SIZE = 11  # odd: of two processes one has a padded copy


def _two_process_worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    prediction, target, ids = related(SIZE)
    results: dict[str, object] = {}

    data_set = TensorDataset(prediction)
    sampler: DistributedSampler[tuple[Tensor, ...]] = DistributedSampler(
        data_set, num_replicas=2, rank=rank, shuffle=False
    )
    share = torch.tensor(list(sampler))  # rows
    results["share"] = share
    collection, noisy = full_iqa_metrics(), SRCC()
    for batch in share.split(4 - 2 * rank):  # two batches on one, three on the other
        collection.update(prediction[batch], target[batch], ids[batch])
        noisy.update(prediction[batch] + 5e-5 * rank, target[batch], ids[batch])
    results["padded"] = collection.compute()
    results["padded again"] = collection.compute()
    results["noisy copy"] = noisy.compute()

    collection.reset()
    more = torch.arange(SIZE)[rank::2]
    collection.update(prediction[more[:2]], target[more[:2]], ids[more[:2]])
    collection.compute()
    collection.update(prediction[more[2:]], target[more[2:]], ids[more[2:]])
    results["updated after compute"] = collection.compute()

    one_sided = full_iqa_metrics()
    if rank == 0:
        one_sided.update(prediction, target, ids)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # compute before update, on the idle process
        results["one process idle"] = one_sided.compute()

    clash = SRCC()
    clash.update(prediction[share], target[share] + rank, ids[share])
    try:
        clash.compute()
    except ValueError as error:
        results["clash"] = str(error)
    torch.save(results, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    """What each of two real processes computed."""
    folder: Path = tmp_path_factory.mktemp("processes")
    multiprocessing.spawn(_two_process_worker, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.slow
def test_sampler_padded(two_processes: list[dict[str, Tensor]]) -> None:
    shares = [set(results["share"].tolist()) for results in two_processes]
    assert len(shares[0]) == len(shares[1]) == 6
    assert len(shares[0] & shares[1]) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", ["padded", "padded again", "updated after compute", "one process idle"]
)
def test_two_processes_equal_one(
    two_processes: list[dict[str, dict[str, Tensor]]], case: str
) -> None:
    prediction, target, ids = related(SIZE)
    single = full_iqa_metrics()
    single.update(prediction, target, ids)
    expected = single.compute()
    # The same float64 numbers in the same order; only vectorised sums may differ by a last bit.
    for results in two_processes:
        assert results[case].keys() == expected.keys()
        for name, value in expected.items():
            assert results[case][name].item() == pytest.approx(value.item(), abs=1e-12), name


@pytest.mark.slow
def test_noisy_copy_counts_once_and_alike_on_both(
    two_processes: list[dict[str, Tensor]],
) -> None:
    prediction, target, _ = related(SIZE)
    shares = two_processes[0]["share"], two_processes[1]["share"]
    least = prediction.clone()
    only_second = sorted(set(shares[1].tolist()) - set(shares[0].tolist()))
    least[only_second] += 5e-5
    expected = expected_values(least, target)["SRCC"]
    for results in two_processes:
        assert results["noisy copy"].item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.slow
def test_clash_of_two_processes_is_one_error_on_both(
    two_processes: list[dict[str, str]],
) -> None:
    _, _, ids = related(SIZE)
    assert two_processes[0]["clash"] == two_processes[1]["clash"]
    assert f"sample id {int(ids[0])}: two targets" in two_processes[0]["clash"]
