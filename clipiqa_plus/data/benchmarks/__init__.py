"""The published benchmarks by their short names."""

from clipiqa_plus.data.benchmarks.aesthetic import AVA
from clipiqa_plus.data.benchmarks.authentic import BID, CID2013, CLIVE, PIQ23, SPAQ, UHDIQA
from clipiqa_plus.data.benchmarks.biq import BIQ2021
from clipiqa_plus.data.benchmarks.common import Benchmark
from clipiqa_plus.data.benchmarks.flive import FLIVE, FLIVEPatches
from clipiqa_plus.data.benchmarks.generated import AGIQA1K, AGIQA3K, CGIQA6K
from clipiqa_plus.data.benchmarks.koniq import KonIQ10k, KonIQPlusPlus
from clipiqa_plus.data.benchmarks.synthetic import CSIQ, LIVE, PIPAL, TID2013, KADID10k

BENCHMARKS: dict[str, type[Benchmark]] = {
    benchmark.name: benchmark
    for benchmark in (
        KonIQ10k,
        KonIQPlusPlus,
        CLIVE,
        SPAQ,
        FLIVE,
        FLIVEPatches,
        BID,
        BIQ2021,
        CID2013,
        UHDIQA,
        PIQ23,
        KADID10k,
        TID2013,
        CSIQ,
        LIVE,
        PIPAL,
        AGIQA3K,
        AGIQA1K,
        CGIQA6K,
        AVA,
    )
}
"""Every benchmark by its short name, in display order."""

__all__ = [
    "AGIQA1K",
    "AGIQA3K",
    "AVA",
    "BENCHMARKS",
    "BID",
    "BIQ2021",
    "CGIQA6K",
    "CID2013",
    "CLIVE",
    "CSIQ",
    "FLIVE",
    "LIVE",
    "PIPAL",
    "PIQ23",
    "SPAQ",
    "TID2013",
    "UHDIQA",
    "Benchmark",
    "FLIVEPatches",
    "KADID10k",
    "KonIQ10k",
    "KonIQPlusPlus",
]
