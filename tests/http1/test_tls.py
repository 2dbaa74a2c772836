"""Files for TLS that are renewed in place are noticed without a restart."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from apikey_guard.errors import TransportError
from apikey_guard.http1.tls import CHECK_SECONDS, TlsFiles
from apikey_guard.keyservice.transport import Transport
from apikey_guard.testing import LoopbackKeyService, ManualClock
from tests.forwarding.gateway import Gateway
from tests.harness.origin import Origin

OLD, NEW = trustme.CA(), trustme.CA()


def server_context(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    path.write_bytes(OLD.cert_pem.bytes())
    return path


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def renewed() -> Iterator[LoopbackKeyService]:
    """A key service whose certificate is of the new authority."""
    with LoopbackKeyService(["k"], tls=server_context(NEW)) as service:
        yield service


def outcome(transport: Transport, url: str) -> str:
    try:
        return str(transport.exchange("POST", url, {}, b'{"key": "k"}').status)
    except TransportError as error:
        return error.cause


def replace(path: Path, data: bytes, how: str) -> None:
    if how == "in place":
        path.write_bytes(data)
    elif how == "by rename":
        new = path.with_name("new")
        new.write_bytes(data)
        new.rename(path)
    else:  # as Kubernetes renews what a pod has mounted
        target = path.with_name("data")
        target.write_bytes(data)
        path.unlink()
        path.symlink_to(target)


@pytest.mark.parametrize("how", ["in place", "by rename", "by a link"])
def test_v13_a_bundle_of_authorities_is_read_again(
    bundle: Path, clock: ManualClock, renewed: LoopbackKeyService, how: str
) -> None:
    transport = Transport(ca=str(bundle), monotonic=clock.monotonic)
    assert outcome(transport, renewed.url) == "tls"
    replace(bundle, NEW.cert_pem.bytes(), how)
    clock.advance(CHECK_SECONDS - 0.1)
    assert outcome(transport, renewed.url) == "tls"
    clock.advance(0.1)
    assert outcome(transport, renewed.url) == "200"
    transport.close()


@pytest.mark.parametrize(
    "broken", [b"", b"nonsense\n", NEW.cert_pem.bytes()[:300]], ids=["empty", "other", "half"]
)
def test_v13_what_cannot_be_used_is_reported_at_each_look_and_the_old_goes_on(
    bundle: Path, clock: ManualClock, broken: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with LoopbackKeyService(["k"], tls=server_context(OLD)) as service:
        transport = Transport(ca=str(bundle), monotonic=clock.monotonic, max_age=0.0)
        assert outcome(transport, service.url) == "200"
        bundle.write_bytes(broken)
        for look in range(1, 4):
            clock.advance(CHECK_SECONDS)
            assert outcome(transport, service.url) == "200"
            assert outcome(transport, service.url) == "200"
            errors = [record for record in caplog.records if record.levelno == logging.ERROR]
            assert len(errors) == look
        bundle.unlink()
        clock.advance(CHECK_SECONDS)
        assert outcome(transport, service.url) == "200"
        bundle.write_bytes(NEW.cert_pem.bytes())
        clock.advance(CHECK_SECONDS)
        assert outcome(transport, service.url) == "tls"
        transport.close()


@pytest.mark.parametrize("apart", [False, True], ids=["one file", "certificate and key"])
def test_v13_a_client_certificate_is_read_again(
    bundle: Path, clock: ManualClock, tmp_path: Path, apart: bool
) -> None:
    context = server_context(OLD)
    context.verify_mode = ssl.CERT_REQUIRED
    NEW.configure_trust(context)
    certificate, key = tmp_path / "client.pem", tmp_path / "client.key"

    def write(ca: trustme.CA) -> None:
        leaf = ca.issue_cert("gateway.internal")
        chain = b"".join(pem.bytes() for pem in leaf.cert_chain_pems)
        certificate.write_bytes(chain if apart else chain + leaf.private_key_pem.bytes())
        key.write_bytes(leaf.private_key_pem.bytes())

    write(OLD)
    with LoopbackKeyService(["k"], tls=context) as service:
        transport = Transport(
            ca=str(bundle),
            client_cert=(str(certificate), str(key)) if apart else str(certificate),
            monotonic=clock.monotonic,
        )
        assert outcome(transport, service.url) != "200"
        write(NEW)
        clock.advance(CHECK_SECONDS)
        assert outcome(transport, service.url) == "200"
        transport.close()


def test_an_encrypted_key_is_a_fault_and_not_asked_about_on_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    leaf = NEW.issue_cert("gateway.internal")
    certificate, key = tmp_path / "client.pem", tmp_path / "client.key"
    leaf.cert_chain_pems[0].write_to_path(str(certificate))
    key.write_bytes(
        load_pem_private_key(leaf.private_key_pem.bytes(), None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pass")
        )
    )
    with pytest.raises(TransportError, match="the client certificate cannot be read"):
        TlsFiles(None, (str(certificate), str(key))).context()
    assert capfd.readouterr().err == ""


def test_v13_authorities_of_an_origin_are_read_again(bundle: Path) -> None:
    with (
        Origin(tls=server_context(NEW)) as origin,
        Gateway("one", origins={"one": {"targets": [origin.url], "ca": str(bundle)}}) as gateway,
    ):
        assert gateway.outcome("/") == (502, "origin_failed")
        bundle.write_bytes(NEW.cert_pem.bytes())
        gateway.clock.advance(CHECK_SECONDS)
        assert gateway.get("/").status == 200


def test_files_that_have_not_changed_are_not_read_again(bundle: Path, clock: ManualClock) -> None:
    files = TlsFiles(str(bundle), monotonic=clock.monotonic)
    context = files.context()
    for _ in range(3):
        clock.advance(CHECK_SECONDS)
        assert files.context() is context


def test_a_directory_of_authorities_is_looked_at_as_a_whole(tmp_path: Path, clock: ManualClock) -> None:
    files = TlsFiles(str(tmp_path), monotonic=clock.monotonic)
    context = files.context()
    (tmp_path / "0a1b2c3d.0").write_bytes(NEW.cert_pem.bytes())
    clock.advance(CHECK_SECONDS)
    assert files.context() is not context
