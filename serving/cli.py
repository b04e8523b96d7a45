"""`freshet score`, `model`, `gateway`, `triton`, and those beside them. What is heavy is imported when one runs."""

from __future__ import annotations

import json
import signal
import threading
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from urllib.parse import quote

from serving.gateway_call import add_url, call, gateway_url
from serving.keys_cli import KEYS
from serving.recommend_cli import RECOMMEND
from serving.scorer.config import PRECISIONS
from streams.command import Command, Result, table
from streams.contract.errors import InputError
from streams.contract.settings import settings_from

_START_SECONDS = 120.0
"""Triton with its models loaded: each is a process of its own that imports torch first."""


def _configure_gateway(parser: ArgumentParser) -> None:
    known = settings_from()
    parser.add_argument("--log", default=known.log, help="the event log (default: FRESHET_LOG)")
    parser.add_argument("--redis", default=known.redis, help="the row store (default: FRESHET_REDIS)")
    parser.add_argument("--triton", default=known.triton, help="the scorer (default: FRESHET_TRITON)")
    parser.add_argument("--model", default="ads", help="the model's name")
    parser.add_argument("--recommender", action="store_true", help="one is expected: its absence is told by /readyz")
    parser.add_argument("--blend-weight", type=float, default=None, metavar="W",
                        help="of the recommender beside the click model in the arm `blend` (default: 1)")  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="any other address needs API keys (--keys)")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--spool", type=Path, default=Path(".freshet/spool"), help="where impressions wait for the log")
    parser.add_argument("--keys", type=Path, default=None, help="file of API keys, see `freshet keys`")


def _gateway(args: Namespace) -> Result:
    from serving.gateway.app import serve
    from serving.gateway.blend import BlendConfig
    from serving.gateway.config import GatewayConfig
    from serving.gateway.recommending import RecommendConfig

    blend = BlendConfig() if args.blend_weight is None else BlendConfig(generative_weight=args.blend_weight)
    serve(GatewayConfig(
        log=args.log, redis=args.redis, triton=args.triton or "http://127.0.0.1:8000", model=args.model,
        recommender=args.recommender, recommend=RecommendConfig(blend=blend),
        host=args.host, port=args.port, spool_dir=args.spool, keys_file=args.keys,
    ))  # fmt: skip
    return {"stopped": True}


def _configure_triton(parser: ArgumentParser) -> None:
    known = settings_from()
    parser.add_argument("--log", default=known.log)
    parser.add_argument("--redis", default=known.redis)
    parser.add_argument("--model", default="ads")
    parser.add_argument("--dir", type=Path, default=Path(".freshet/triton"), help="its model repository and log")
    parser.add_argument("--http-port", type=int, default=0)
    parser.add_argument("--grpc-port", type=int, default=0)
    parser.add_argument("--metrics-port", type=int, default=0)
    parser.add_argument("--max-hot-rows", type=int, default=1_000_000, help="rows held in memory")
    parser.add_argument("--max-unknown-ids", type=int, default=200_000, help="ids remembered to have no row")
    parser.add_argument("--threads", type=int, default=1, help="of the dense network")
    parser.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0],
                        help="of its wide layers; bfloat16 is faster with AMX and differs by about 1e-3")  # fmt: skip
    parser.add_argument("--recommender", action="store_true", help="serve the model `recommender` beside it")
    parser.add_argument("--recommender-threads", type=int, default=1, help="of its language model")
    parser.add_argument("--recommender-likes", type=int, default=0, metavar="N",
                        help="newest likes that a prompt takes (default: as it was learnt)")  # fmt: skip


def _triton(args: Namespace) -> Result:
    from serving.recommender.config import RecommenderConfig
    from serving.scorer.config import ScorerConfig
    from serving.triton.config import TritonConfig
    from serving.triton.start import start_models
    from serving.triton.supervisor import Supervisor

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    scorer = ScorerConfig(model=args.model, log=args.log, redis=args.redis, max_hot_rows=args.max_hot_rows,
                          max_unknown_ids=args.max_unknown_ids, num_threads=args.threads,
                          precision=args.precision)  # fmt: skip
    recommender = None
    if args.recommender:
        recommender = RecommenderConfig(log=args.log, redis=args.redis, num_threads=args.recommender_threads,
                                        max_likes=args.recommender_likes)  # fmt: skip
    config = TritonConfig(http_port=args.http_port, grpc_port=args.grpc_port, metrics_port=args.metrics_port,
                          start_timeout_seconds=_START_SECONDS)  # fmt: skip
    Supervisor(lambda triton: start_models(args.dir, scorer, triton, recommender=recommender), config).run(stop)
    return {"stopped": True}


def _configure_score(parser: ArgumentParser) -> None:
    add_url(parser)
    parser.add_argument("--file", type=Path, required=True, metavar="REQUEST.json", help="the body of POST /v1/score")


def _score(args: Namespace) -> Result:
    try:
        body = args.file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error}", field="file", value=str(args.file),
                         remedy="give a file with the body of POST /v1/score") from error  # fmt: skip
    answer: Result = call(f"{gateway_url(args)}/v1/score", body)
    return answer


def _render_score(answer: Result) -> str:
    rows = [("rank", "candidate", "score")]
    rows += [(str(rank + 1), str(index), f"{answer['scores'][index]:.6f}")
             for rank, index in enumerate(answer["ranking"])]  # fmt: skip
    fresh = answer.get("freshness_seconds")
    made = f"version {answer['version']} of generation {answer['generation']}, arm {answer['arm']}"
    age = f", {fresh:.1f} s behind the newest event learnt" if fresh is not None else ""
    return f"{table(rows)}\n{made}{age}; flags: {', '.join(answer['flags']) or 'none'}"


def _configure_model(parser: ArgumentParser) -> None:
    add_url(parser)
    parser.add_argument("action", choices=("list", "show", "rollback", "promote"))
    parser.add_argument("number", nargs="?", type=int, help="a version (show) or a generation (rollback, promote)")
    parser.add_argument("--model", default="", help="`recommender` (default: the click model)")


def _model(args: Namespace) -> Result:
    url = f"{gateway_url(args)}/v1/models"
    query = f"?model={quote(args.model)}" if args.model else ""
    if args.action == "list":
        listed: Result = call(url + query)
        return listed
    if args.number is None:
        raise InputError(f"`model {args.action}` needs a number", field="number",
                         remedy="see `freshet model list`")  # fmt: skip
    path = f"/{args.number}" if args.action == "show" else f"/{args.number}:{args.action}"
    answer: Result = call(url + path + query, None if args.action == "show" else b"{}")
    return answer


def _calibrated(metrics: dict[str, float]) -> str:
    """Expected calibration error of recent predictions after and before the version's map, where it has one."""
    if "calibration_error" not in metrics:
        return ""
    return f"{metrics['calibration_error']:.5f}, {metrics['calibration_error_before']:.5f}"


def _render_model(result: Result) -> str:
    if "versions" not in result:
        return json.dumps(result, indent=2)
    rows = [("version", "generation", "examples", "rows", "created", "calibration error, before its map")]
    for version in result["versions"]:
        created = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(version["created_ms"] / 1000))
        rows.append((str(version["version"]), str(version["generation"]), str(version["examples"]),
                     str(version["num_rows"]), created, _calibrated(version.get("metrics", {}))))  # fmt: skip
    return f"live: {result['live']}\n{table(rows)}"


COMMANDS = [
    Command(name="score", help="Sends one scoring request.",
            examples=("freshet score --file REQUEST.json", "freshet score --file REQUEST.json --url http://HOST:PORT"),
            configure=_configure_score, run=_score, render=_render_score),
    RECOMMEND,
    Command(name="model", help="Lists versions and generations, rolls back, promotes.",
            examples=("freshet model list", "freshet model show 12", "freshet model rollback 1",
                      "freshet model promote 2", "freshet model list --model recommender"),
            configure=_configure_model, run=_model, render=_render_model),
    Command(name="gateway", help="Serves HTTP, until stopped.",
            examples=("freshet gateway --log embedded:DIR --redis redis://HOST:PORT --triton http://HOST:PORT",),
            configure=_configure_gateway, run=_gateway, render=lambda r: ""),
    KEYS,
    Command(name="triton", help="Runs the embedded Triton with the model `ranker`, until stopped.",
            examples=("freshet triton --log embedded:DIR --redis redis://HOST:PORT --http-port 8000",
                      "freshet triton --log embedded:DIR --redis redis://HOST:PORT --recommender"),
            configure=_configure_triton, run=_triton, render=lambda r: ""),
]  # fmt: skip
