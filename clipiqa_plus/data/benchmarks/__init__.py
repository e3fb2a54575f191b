"""The published benchmarks by their short names."""

from clipiqa_plus.data.benchmarks.aesthetic import AVA, PARA
from clipiqa_plus.data.benchmarks.authentic import BID, CID2013, CLIVE, PIQ23, SPAQ, UHDIQA
from clipiqa_plus.data.benchmarks.biq import BIQ2021
from clipiqa_plus.data.benchmarks.common import Benchmark
from clipiqa_plus.data.benchmarks.faces import GFIQA20k
from clipiqa_plus.data.benchmarks.flive import FLIVE, FLIVEPatches
from clipiqa_plus.data.benchmarks.generated import (
    AGIQA1K,
    AGIQA3K,
    AIGCIQA2023,
    AIGIQA20K,
    CGIQA6K,
)
from clipiqa_plus.data.benchmarks.koniq import KonIQ10k, KonIQPlusPlus
from clipiqa_plus.data.benchmarks.multiply_distorted import LIVEMD, MDID
from clipiqa_plus.data.benchmarks.restored import SRIQABench
from clipiqa_plus.data.benchmarks.synthetic import CSIQ, LIVE, PIPAL, KADID10k
from clipiqa_plus.data.benchmarks.tid import TID2013

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
        GFIQA20k,
        KADID10k,
        TID2013,
        CSIQ,
        LIVE,
        LIVEMD,
        MDID,
        PIPAL,
        SRIQABench,
        AGIQA3K,
        AGIQA1K,
        AIGCIQA2023,
        AIGIQA20K,
        CGIQA6K,
        AVA,
        PARA,
    )
}
"""Every benchmark by its short name, in display order."""

__all__ = [
    "AGIQA1K",
    "AGIQA3K",
    "AIGCIQA2023",
    "AIGIQA20K",
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
    "LIVEMD",
    "MDID",
    "PARA",
    "PIPAL",
    "PIQ23",
    "SPAQ",
    "TID2013",
    "UHDIQA",
    "Benchmark",
    "FLIVEPatches",
    "GFIQA20k",
    "KADID10k",
    "KonIQ10k",
    "KonIQPlusPlus",
    "SRIQABench",
]
