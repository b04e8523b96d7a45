"""What a gateway is started with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from serving.gateway.candidate_pool import PoolConfig
from serving.gateway.deadline_shares import DeadlineShares
from serving.gateway.event_writer import WriterConfig
from serving.gateway.hedge import HedgeConfig
from serving.gateway.limits import LimitsConfig
from serving.gateway.popularity import PopularityConfig
from serving.gateway.recommending import RecommendConfig
from serving.gateway.spool import SpoolConfig
from streams.contract.errors import InputError

IN_PROCESS = "inprocess"


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewayConfig:
    """Addresses and bounds of one gateway. Passwords come from the environment alone."""

    log: str
    """`embedded:DIR` or `kafka://HOST:PORT`."""
    redis: str
    """`redis://HOST:PORT[,HOST:PORT]`."""
    triton: str = "http://127.0.0.1:8000"
    """`http://HOST:PORT`, or `inprocess`."""
    model: str = "ads"
    recommender: bool = False
    """Whether a recommender is expected, so that its absence is told; asked it is in any case."""
    spool_dir: Path
    """Events wait here while the log is away. One folder a gateway."""

    host: str = "127.0.0.1"
    port: int = 8080
    """0: a free one."""
    keys_file: Path | None = None
    """A key file (serving/gateway/auth.py). Needed for any address that is not loopback."""

    limits: LimitsConfig = field(default_factory=LimitsConfig)
    writer: WriterConfig = field(default_factory=WriterConfig)
    spool: SpoolConfig = field(default_factory=SpoolConfig)
    popularity: PopularityConfig = field(default_factory=PopularityConfig)
    pool: PoolConfig = field(default_factory=PoolConfig)
    recommend: RecommendConfig = field(default_factory=RecommendConfig)
    deadline_shares: DeadlineShares = field(default_factory=DeadlineShares)
    hedge: HedgeConfig = field(default_factory=HedgeConfig)
    """For the click model alone: its answer costs little, that of a language model would cost twice as much."""

    live_poll_seconds: float = 0.5
    shutdown_seconds: float = 10.0
    """For requests under way, and then for writing what was shown."""

    def __post_init__(self) -> None:
        for name in ("log", "redis", "triton", "model", "host"):
            if not getattr(self, name):
                raise InputError("is not set", field=name, remedy=f"give the gateway its {name}")
        if not 0 <= self.port < 65536:
            raise InputError("is not a port", field="port", value=self.port,
                             remedy="use 1 to 65535, or 0 for a free one")  # fmt: skip
