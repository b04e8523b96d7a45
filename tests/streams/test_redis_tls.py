"""A row store behind TLS. The embedded Valkey has none, so a TLS-terminating relay stands before it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from streams.contract.errors import UnavailableError
from streams.contract.manifest import Generation, Manifest, Rows
from streams.contract.schema import schema_to_json
from streams.store.redis_client import RedisConfig
from streams.store.row_store import open_row_store
from streams.store.row_writer import BundleWrite
from tests.support.small_model import shared_schema
from tests.support.tls_relay import make_certificate, tls_relay
from tests.support.valkey import ValkeyServer, flush


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """(the server's certificate, its key, a certificate that vouches for another)."""
    folder = tmp_path_factory.mktemp("tls")
    return (*make_certificate(folder, "server"), make_certificate(folder, "other")[0])


@pytest.fixture
def secure_port(valkey: ValkeyServer, certificates: tuple[Path, Path, Path]) -> Iterator[int]:
    flush([valkey])
    with tls_relay(valkey.port, certificates[0], certificates[1]) as port:
        yield port


def generation() -> Generation:
    schema = shared_schema()
    return Generation(model="ads", generation=1, first_version=1, feature_hash=schema.hash,
                      schema=schema_to_json(schema), tables=schema.tables, network={})  # fmt: skip


def test_version_written_over_tls_is_read_back(secure_port: int, certificates: tuple[Path, Path, Path]) -> None:
    config = RedisConfig(ca_file=str(certificates[0]))
    store = open_row_store(f"rediss://127.0.0.1:{secure_port}", model="ads", password="", config=config)
    ids, values = np.arange(500), np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
    manifest = Manifest(model="ads", version=1, parent=0, generation=1, feature_hash=shared_schema().hash)
    table = next(iter(shared_schema().tables))
    store.write_generation(generation(), {"request": b"program"})
    store.write_version(manifest, {"w": np.ones(3, dtype=np.float32)}, {table: Rows(ids, values)}, {}, BundleWrite())
    found = store.fetch_rows(1, {0: ids})
    assert found.found.all()
    np.testing.assert_array_equal(found.values, values)
    assert store.head(1) == manifest
    store.close()


def test_authority_named_by_the_environment_is_trusted(
    secure_port: int, certificates: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates[0]))
    store = open_row_store(f"rediss://127.0.0.1:{secure_port}", model="ads", password="")
    assert store.generations() == []
    store.close()


@pytest.mark.parametrize("authority", ["other", "system"])
def test_certificate_that_nobody_trusted_vouches_for_is_refused_with_the_remedy(
    secure_port: int, certificates: tuple[Path, Path, Path], authority: str
) -> None:
    config = RedisConfig(ca_file=str(certificates[2]) if authority == "other" else "")
    address = f"rediss://127.0.0.1:{secure_port}"
    with pytest.raises(UnavailableError, match="certificate") as caught:
        open_row_store(address, model="ads", password="", config=config)
    assert (caught.value.field, caught.value.value) == ("redis", address)
    assert "SSL_CERT_FILE" in (caught.value.remedy or "")


def test_tls_to_a_server_that_speaks_none_is_refused_with_the_remedy(valkey: ValkeyServer) -> None:
    with pytest.raises(UnavailableError) as caught:
        open_row_store(f"rediss://127.0.0.1:{valkey.port}", model="ads", password="")
    assert "redis://" in (caught.value.remedy or "")


def test_certificate_file_that_is_missing_is_named(secure_port: int, tmp_path: Path) -> None:
    config = RedisConfig(ca_file=str(tmp_path / "absent.pem"))
    with pytest.raises(UnavailableError) as caught:
        open_row_store(f"rediss://127.0.0.1:{secure_port}", model="ads", password="", config=config)
    assert caught.value.remedy
