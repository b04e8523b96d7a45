"""The peers: FastAPI + ONNX Runtime, as JSON and with a binary body. `python -m bench.peer_server --help`.

json     {"dense": [[13 floats] x E], "rows": [[26 ints] x E]} -> {"scores": [...]}
binary   int32 E, then (E, 13) float32, then (E, 26) int64 -> (E,) float32; garbage collector frozen
Both run one ONNX Runtime thread a worker; `--workers 2` is the strongest setting known on two cores.
"""

from __future__ import annotations

import argparse
import gc
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response

MODEL_VARIABLE = "FRESHET_BENCH_PEER_MODEL"


def session(path: Path) -> Any:
    """One ONNX Runtime session on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def create_app() -> FastAPI:
    """Both routes over one session."""
    app = FastAPI()
    model = session(Path(os.environ[MODEL_VARIABLE]))
    gc.collect()
    gc.freeze()

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/json")
    async def score_json(request: Request) -> Response:
        body = orjson.loads(await request.body())
        feeds = {"dense": np.array(body["dense"], dtype=np.float32), "rows": np.array(body["rows"], dtype=np.int64)}
        (scores,) = model.run(None, feeds)
        return Response(orjson.dumps({"scores": scores.tolist()}), media_type="application/json")

    @app.post("/binary")
    async def score_binary(request: Request) -> Response:
        body = await request.body()
        count = int(np.frombuffer(body, dtype="<i4", count=1)[0])
        dense = np.frombuffer(body, dtype="<f4", count=13 * count, offset=4).reshape(count, 13)
        rows = np.frombuffer(body, dtype="<i8", count=26 * count, offset=4 + 52 * count).reshape(count, 26)
        (scores,) = model.run(None, {"dense": dense, "rows": rows})
        return Response(scores.tobytes(), media_type="application/octet-stream")

    return app


def main() -> None:
    """Serves until stopped."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    uvicorn.run("bench.peer_server:create_app", factory=True, host="127.0.0.1", port=args.port, workers=args.workers,
                log_level="warning", access_log=False, http="httptools", loop="uvloop")  # fmt: skip


if __name__ == "__main__":
    main()
