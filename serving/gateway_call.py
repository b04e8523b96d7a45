"""How a command asks a running gateway."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from streams.contract.errors import FreshetError, InputError, UnavailableError


def add_url(parser: ArgumentParser) -> None:
    """The options by which a command finds the gateway."""
    parser.add_argument(
        "--url", default="", help="the gateway (default: FRESHET_GATEWAY, or what `freshet up` started)"
    )
    parser.add_argument("--dir", type=Path, default=Path(".freshet"), help="the folder given to `up`")


def gateway_url(args: Namespace) -> str:
    """The gateway's address, without a slash at its end. Raises InputError where none is known, or it is none."""
    given = args.url or os.environ.get("FRESHET_GATEWAY")
    if given:
        return _address(given).rstrip("/")
    try:
        return str(json.loads((args.dir / "services.json").read_text())["addresses"]["gateway"])
    except (OSError, ValueError, KeyError) as error:
        raise InputError("no gateway was named", field="url",
                         remedy="give --url http://HOST:PORT, or run `freshet up` first") from error  # fmt: skip


def _address(given: str) -> str:
    try:
        place = urlsplit(given)
        usable = place.scheme in ("http", "https") and place.hostname and place.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InputError("is no address of a gateway", field="url", value=given, remedy="give http://HOST:PORT")
    return given


def call(url: str, body: bytes | None = None) -> Any:
    """The JSON answer of a GET, or of a POST where there is a body. Raises what the gateway's error says."""
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
    key = os.environ.get("FRESHET_API_KEY")
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            raise _told(error) from error
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        raise UnavailableError(f"no answer from the gateway: {error}", field="url", value=url,
                               remedy="check the address with `freshet status`") from error  # fmt: skip


def _told(error: urllib.error.HTTPError) -> FreshetError:
    try:
        told = json.loads(error.read())["error"]
    except (ValueError, KeyError, TypeError):
        told = {"message": f"what answers there is no Freshet gateway: HTTP {error.code}", "field": "url",
                "remedy": "check the address with `freshet status`"}  # fmt: skip
    kind = InputError if 400 <= error.code < 429 and error.code != 409 else FreshetError
    return kind(told["message"], field=told.get("field"), remedy=told.get("remedy"))
