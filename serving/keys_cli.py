"""`freshet keys`: makes, lists and revokes API keys."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

from serving.gateway.keys import ApiKey, editing, new_key, read_keys
from streams.command import Command, Result, table
from streams.contract.errors import InputError, NotFoundError


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("action", choices=("new", "list", "revoke"))
    parser.add_argument("id", nargs="?", help="the key to revoke, see `list`")
    parser.add_argument("--file", type=Path, required=True, metavar="KEYS.json", help="what the gateway gets as --keys")
    parser.add_argument("--access", default="", metavar="ROLE,ROLE", help="what a new key may do: score, ingest, admin")


def _run(args: Namespace) -> Result:
    if args.action == "new":
        return _new(args)
    if args.access:
        raise InputError(f"is not for `keys {args.action}`", field="access", value=args.access,
                         remedy="give it to `keys new` alone: what a key may do does not change")  # fmt: skip
    return _revoke(args) if args.action == "revoke" else {"keys": _shown(read_keys(args.file)), "file": str(args.file)}


def _new(args: Namespace) -> Result:
    if args.id is not None:
        raise InputError("is chosen by `keys new` itself", field="id", value=args.id, remedy="leave it out")
    key, kept = new_key(role for role in args.access.split(",") if role)
    with editing(args.file, create=True) as keys:
        keys.append(kept)
    return {**_shown([kept])[0], "key": key, "file": str(args.file)}


def _revoke(args: Namespace) -> Result:
    if args.id is None:
        raise InputError("`keys revoke` needs the id of a key", field="id", remedy="see `freshet keys list`")
    with editing(args.file) as keys:
        kept = [key for key in keys if key.id != args.id]
        if len(kept) == len(keys):
            raise NotFoundError("is no key of the file", field="id", value=args.id, remedy="see `freshet keys list`")
        keys[:] = kept
    return {"revoked": args.id, "keys": _shown(kept), "file": str(args.file)}


def _shown(keys: list[ApiKey]) -> list[dict[str, object]]:
    """What may be shown of keys: not even the hash of a secret."""
    return [{"id": key.id, "access": list(key.roles), "created_ms": key.created_ms} for key in keys]


def _render(result: Result) -> str:
    if "key" in result:
        return (f"{result['key']}\n\nIt is shown this once: the file {result['file']} holds only its hash. "
                "It is sent as `Authorization: Bearer KEY`; Freshet's own commands read FRESHET_API_KEY.")  # fmt: skip
    rows = [("id", "access", "created")]
    for key in result["keys"]:
        created = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(key["created_ms"] / 1000))
        rows.append((key["id"], ",".join(key["access"]), created))
    revoked = f"revoked {result['revoked']}\n" if "revoked" in result else ""
    return revoked + table(rows)


KEYS = Command(
    name="keys",
    help="Makes, lists and revokes the API keys of a gateway.",
    examples=(
        "freshet keys new --access score,ingest --file keys.json",
        "freshet keys list --file keys.json",
        "freshet keys revoke 3f9c0a1b2c3d --file keys.json",
    ),
    configure=_configure,
    run=_run,
    render=_render,
)
