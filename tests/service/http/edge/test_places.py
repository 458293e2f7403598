"""Where a server is found: prefixes, proxies, origins of pages, certificates, sockets."""

from __future__ import annotations

import json
import re
import socket
import ssl
import stat
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import trustme

from retort.models.bundle import Bundle
from retort.models.errors import StartError
from retort.service.http.edge.connections import address_of
from retort.service.listeners import close, listen, place, tls_context
from retort.service.service import Service
from retort.service.settings import Settings, load_settings
from tests.service.http.edge.sockets import connect, head, seconds_until_closed
from tests.service.running import PATIENCE_SECONDS, ServerProcess, ask, ended, server

BODY = {"query": "how tall is the tower", "passages": ["the tower", "paris"]}
SITE = "https://search.example"


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.private_key_pem.write_to_path(key)
    for part in (*issued.cert_chain_pems, authority.cert_pem):
        part.write_to_path(cert, append=True)
    return cert, key


@pytest.mark.parametrize("given", ["/models/a", ""])
def test_a_prefix(fake_bundle: Bundle, given: str) -> None:
    async def test(client: httpx.AsyncClient, service: Service) -> None:
        assert (await client.post(f"{given}/score", json=BODY)).status_code == 200
        assert (await client.get(f"{given}/readyz")).status_code == 200
        assert "<html" in (await client.get(f"{given}/docs")).text
        document = (await client.get(f"{given}/openapi.json")).json()
        assert document["servers"] == [{"url": "/models/a"}]
        redirect = await client.post(f"{given}/score/", json=BODY)
        assert redirect.status_code == 307
        assert redirect.headers["location"] == "http://retort/models/a/score"
        missing = (await client.get(f"{given}/nowhere")).json()
        assert missing["error"]["type"] == "not_found"
        assert "code" not in (await client.get(f"{given}/score")).json()["error"]
        said = service.metrics.render().decode()
        assert 'retort_requests_total{route="/score",status="200"} 1.0' in said

    ask(fake_bundle, test, settings=Settings(root_path="/models/a"))


def test_a_prefix_is_a_path() -> None:
    for wrong in ("models", "/models/", "/", "/a?b"):
        with pytest.raises(StartError, match="root_path"):
            load_settings(root_path=wrong)


@pytest.mark.parametrize("origins", [(SITE,), ("*",)])
def test_pages_of_named_origins(fake_bundle: Bundle, origins: tuple[str, ...]) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        asked = {
            "Origin": SITE,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        }
        leave = await client.options("/score", headers=asked)
        assert leave.status_code == 200
        assert leave.headers["access-control-allow-origin"] in (SITE, "*")
        assert "authorization" in leave.headers["access-control-allow-headers"].lower()
        reply = await client.post("/score", json=BODY, headers={"Origin": SITE})
        assert reply.status_code == 401
        assert reply.headers["access-control-allow-origin"] in (SITE, "*")
        other = await client.options("/score", headers={**asked, "Origin": "https://evil.example"})
        assert (other.status_code == 200) == (origins == ("*",))

    ask(fake_bundle, test, settings=Settings(cors_origins=origins, api_key="hush"))


def test_pages_of_no_other_origin_by_default(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        asked = {"Origin": SITE, "Access-Control-Request-Method": "POST"}
        leave = await client.options("/score", headers=asked)
        assert leave.status_code == 405
        reply = await client.post("/score", json=BODY, headers={"Origin": SITE})
        assert "access-control-allow-origin" not in reply.headers

    ask(fake_bundle, test)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/health"])
def test_balancers_may_ask_for_the_status_alone(fake_bundle: Bundle, path: str) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        assert (await client.head(path)).status_code == 200

    ask(fake_bundle, test)


def test_addresses() -> None:
    assert address_of("::ffff:10.1.2.3") == address_of("10.1.2.3")
    assert address_of("2001:db8::1") == address_of("2001:db8::2") != address_of("2001:db8:0:1::1")
    assert address_of("fe80::1%eth0") == "fe80::/64"
    assert address_of("no:address") == "no:address"


def test_trusted_proxies_are_addresses() -> None:
    assert Settings(trusted_proxies=("10.0.0.0/8", "::1", "unix")).trusted_proxies is not None
    with pytest.raises(StartError, match="trusted_proxies"):
        load_settings(trusted_proxies=["proxy.example"])


def test_ipv4_reaches_a_server_on_every_address_of_ipv6() -> None:
    settings = Settings(host="::", port=0)
    try:
        listeners = listen(settings, 2)
    except StartError as error:
        pytest.skip(str(error))
    url = re.fullmatch(r"http://\[::\]:(\d+)", place(listeners[0], settings))
    assert url is not None
    for host in ("127.0.0.1", "::1"):
        with socket.create_connection((host, int(url[1])), PATIENCE_SECONDS):
            pass
    close(listeners, settings)


def test_a_unix_socket_is_opened_and_removed(tmp_path: Path) -> None:
    settings = Settings(uds=tmp_path / "retort.sock", uds_mode="600")
    assert settings.uds is not None
    listeners = listen(settings, 3)
    assert len(set(listeners)) == 1
    assert stat.S_IMODE(settings.uds.stat().st_mode) == 0o600
    with pytest.raises(StartError, match="in use"):
        listen(settings)
    listeners[0].close()
    # Its server has ended without removing it.
    again = listen(settings)
    close(again, settings)
    assert not settings.uds.exists()


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "precious"
    file.write_text("text")
    with pytest.raises(StartError, match="no socket"):
        listen(Settings(uds=file))
    assert file.read_text() == "text"
    with pytest.raises(StartError, match="cannot listen"):
        listen(Settings(uds=tmp_path / "nowhere" / "retort.sock"))


def test_a_certificate_that_cannot_be_used(certificate: tuple[Path, Path]) -> None:
    cert, _ = certificate
    with pytest.raises(StartError, match=r"tls_cert .*cannot be used"):
        tls_context(cert, cert)
    with pytest.raises(StartError, match="need each other"):
        load_settings(tls_cert=str(cert))


@pytest.mark.slow
def test_a_server_on_a_unix_socket(tiny_bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "retort.sock"
    flags = ("--bundle", str(tiny_bundle.folder), "--uds", str(path), "--workers", "2")
    running = ServerProcess(*flags, "--trusted-proxies", "unix")
    transport = httpx.HTTPTransport(uds=str(path))
    client = httpx.Client(transport=transport, base_url="http://retort", timeout=PATIENCE_SECONDS)
    with ended(running), client:
        assert running.url == f"unix:{path}"
        running.wait_until_ready(client)
        told = {"X-Forwarded-For": "192.0.2.9", "X-Forwarded-Proto": "https"}
        assert client.post("/score", json=BODY, headers=told).status_code == 200
        redirect = client.post("/score/", json=BODY, headers=told)
        assert redirect.headers["location"] == "https://retort/score"
        assert running.stop() == 0
        assert not path.exists()


@pytest.mark.slow
def test_a_server_with_tls(tiny_bundle: Bundle, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    flags = ("--tls-cert", str(cert), "--tls-key", str(key), "--header-seconds", "1")
    running = ServerProcess("--bundle", str(tiny_bundle.folder), "--port", "0", *flags)
    trusting = ssl.create_default_context(cafile=cert)
    client = httpx.Client(verify=trusting, base_url=running.url, timeout=PATIENCE_SECONDS)
    with ended(running), client:
        assert running.url.startswith("https://")
        running.wait_until_ready(client)
        assert client.post("/score", json=BODY).status_code == 200
        large = {**BODY, "passages": ["paris " * 1_000_000], "return_passages": True}
        assert len(client.post("/score", json=large).content) > 6_000_000
        # A refusal arrives, though the body was not read.
        assert client.post("/score", content=b"a" * 20_000_000).status_code == 413
        redirect = client.post("/score/", json=BODY)
        assert redirect.headers["location"] == f"{running.url}/score"
        address = ("127.0.0.1", int(running.url.rpartition(":")[2]))
        for said in (b"", b"\x16\x03", b"GET / HTTP/1.1\r\n\r\n"):
            with socket.create_connection(address, PATIENCE_SECONDS) as silent:
                silent.sendall(said)
                assert seconds_until_closed(silent) < 3
        assert client.get("/readyz").status_code == 200
        # Its connection is idle, and must not hold up the end.
        start = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - start < 10
        assert "Traceback" not in running.rest()


def test_old_tls_is_refused(certificate: tuple[Path, Path]) -> None:
    assert tls_context(*certificate).minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.slow
def test_what_a_proxy_says(tiny_bundle: Bundle) -> None:
    flags = ("--bundle", str(tiny_bundle.folder), "--workers", "1")
    told = {"X-Forwarded-For": "192.0.2.9", "X-Forwarded-Proto": "https"}

    def location(running: ServerProcess) -> str:
        reply = httpx.post(f"{running.url}/score/", content=json.dumps(BODY), headers=told)
        return str(reply.headers["location"])

    with server(*flags) as running:
        assert location(running).startswith("http://")
    with server(*flags, "--trusted-proxies", "10.0.0.0/8,127.0.0.1") as running:
        assert location(running).startswith("https://")
        assert httpx.post(f"{running.url}/score", json=BODY, headers=told).status_code == 200


@pytest.mark.slow
def test_clients_behind_a_proxy_have_a_share_each(tiny_bundle: Bundle) -> None:
    flags = ("--trusted-proxies", "127.0.0.1", "--max-connections-per-address", "2")
    with (
        server("--bundle", str(tiny_bundle.folder), "--workers", "1", *flags) as running,
        ExitStack() as stack,
    ):
        for _ in range(2):
            client = stack.enter_context(connect(running))
            client.sendall(head("/score", 100, "X-Forwarded-For: 192.0.2.9") + b"{")
        time.sleep(0.2)

        def status(client: str) -> int:
            told = {"X-Forwarded-For": client}
            return httpx.post(f"{running.url}/score", json=BODY, headers=told).status_code

        assert [status("192.0.2.9"), status("192.0.2.8"), status("no:address")] == [503, 200, 200]
        stack.close()
        time.sleep(0.2)
        assert status("192.0.2.9") == 200
