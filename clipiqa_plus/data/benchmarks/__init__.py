"""The published benchmarks by their short names."""

from clipiqa_plus.data.benchmarks.common import Benchmark
from clipiqa_plus.data.benchmarks.koniq import KonIQ10k, KonIQPlusPlus

BENCHMARKS: dict[str, type[Benchmark]] = {
    benchmark.name: benchmark
    for benchmark in (
        KonIQ10k,
        KonIQPlusPlus,
    )
}
"""Every benchmark by its short name, in the order in which they are listed."""

__all__ = ["BENCHMARKS", "Benchmark", "KonIQ10k", "KonIQPlusPlus"]
