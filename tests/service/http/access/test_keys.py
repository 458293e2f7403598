from __future__ import annotations

import os
from pathlib import Path

import httpx
import pytest

from retort.models.bundle import Bundle
from retort.models.errors import StartError
from retort.service.http.access import keys
from retort.service.http.access.keys import Keyring, digest, new_key, read_keys
from retort.service.service import Service
from retort.service.settings import Settings
from tests.service.running import ask

BODY = {"query": "how tall is the eiffel tower", "passages": ["the eiffel tower", "paris"]}


def write(file: Path, *names: str, extra: str = "") -> dict[str, str]:
    """Write a file with a new key for each name; the keys by name."""
    made = {name: new_key(name, admin=name == "operations") for name in names}
    file.write_text("\n".join(entry for _, entry in made.values()) + "\n" + extra)
    return {name: secret for name, (secret, _) in made.items()}


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def test_each_key_of_a_file_opens_what_it_may(fake_bundle: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    secrets = write(file, "search", "operations")

    async def test(client: httpx.AsyncClient, _: Service) -> None:
        async def status(path: str, secret: str) -> int:
            return (await client.post(path, json=BODY, headers=bearer(secret))).status_code

        for secret in (*secrets.values(), "plain"):
            assert await status("/score", secret) == 200
        for secret in ("", "wrong", secrets["search"] + "x", digest(secrets["search"].encode())):
            assert await status("/score", secret) == 401
        assert await status("/admin/models/fake", secrets["search"]) == 403
        assert await status("/admin/models/fake", "wrong") == 401
        # It gets past the gate: there is no such bundle to load.
        assert await status("/admin/models/fake", secrets["operations"]) in (409, 422)
        text = (await client.get("/metrics")).text
        assert 'retort_key_requests_total{key="search",status="200"} 1.0' in text
        assert 'retort_key_requests_total{key="search",status="403"} 1.0' in text
        assert secrets["search"] not in text

    ask(fake_bundle, test, settings=Settings(keys_file=file, api_key="plain"))


def test_the_file_is_read_again_when_it_changes(
    fake_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "LOOK_SECONDS", 0.0)
    file = tmp_path / "keys.yaml"
    old = write(file, "search")["search"]

    async def test(client: httpx.AsyncClient, _: Service) -> None:
        async def status(secret: str) -> int:
            return (await client.post("/score", json=BODY, headers=bearer(secret))).status_code

        assert await status(old) == 200
        new = write(file, "search", "more", extra="# rotated\n")["search"]
        assert (await status(new), await status(old)) == (200, 401)
        text = (await client.get("/metrics")).text
        assert 'retort_key_requests_total{key="more",status="200"} 0.0' in text
        # What is wrong, half written or gone changes nothing.
        for broken in ("- name: search\n  sha256: 12", ""):
            file.write_text(broken)
            assert await status(new) == 200
        file.unlink()
        assert await status(new) == 200

    ask(fake_bundle, test, settings=Settings(keys_file=file))


def test_one_key_for_clients_and_admins_closes_the_server(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        assert (await client.post("/score", json=BODY)).status_code == 401
        assert (await client.post("/score", json=BODY, headers=bearer("hush"))).status_code == 200

    ask(fake_bundle, test, settings=Settings(api_key="hush", admin_api_key="hush"))


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_key_may_have_any_characters(fake_bundle: Bundle, encoding: str) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        for name, value in (("Authorization", "Bearer sécret"), ("X-API-Key", "sécret")):
            headers = {name.encode(): value.encode(encoding)}
            reply = await client.post("/score", json=BODY, headers=headers)
            assert reply.status_code == 200

    ask(fake_bundle, test, settings=Settings(api_key="sécret"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("- name: search\n  sha256: 12", "sha256"),
        ("- name: a b\n  sha256: " + "a" * 64, "name"),
        ("- name: a\n  sha256: " + "a" * 64 + "\n  colour: red", "colour"),
        ("- name: a\n  sha256: " + "a" * 64 + "\n  requests_per_second: 0", "requests_per_second"),
        ("\n".join(f"- name: a\n  sha256: {'a' * 63}{i}" for i in range(2)), "name a"),
        ("\n".join(f"- name: {i}\n  sha256: {'a' * 64}" for i in "ab"), "sha256"),
        ("- name: admin\n  sha256: " + "a" * 64, "admin"),
        ("name: a", "list"),
        ("- [", "keys.yaml"),
        ("# nobody", "empty"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text(text)
    with pytest.raises(StartError, match=named):
        Keyring(Settings(keys_file=file))


def test_a_file_may_be_toml(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(f'[[keys]]\nname = "search"\nsha256 = "{"a" * 64}"\ntokens_per_minute = 5\n')
    (key,) = read_keys(file)
    assert (key.name, key.tokens_per_minute, key.limited) == ("search", 5, True)


def test_a_missing_file_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"(?i)no such file"):
        Keyring(Settings(keys_file=tmp_path / "keys.yaml"))


@pytest.mark.parametrize(
    ("opened", "closed"),
    [
        (("page", "docs", "metrics"), ["/info", "/comparison", "/v1/models"]),
        ((), ["/", "/docs", "/openapi.json", "/metrics", "/info"]),
        (("info",), ["/", "/docs", "/openapi.json", "/metrics"]),
    ],
)
def test_what_is_open_can_be_closed(
    fake_bundle: Bundle, opened: tuple[str, ...], closed: list[str]
) -> None:
    everything = ["/", "/docs", "/openapi.json", "/metrics", "/info", "/livez", "/readyz"]

    async def test(client: httpx.AsyncClient, _: Service) -> None:
        for path in {*everything, *closed}:
            expected = 401 if path in closed else None
            reply = await client.get(path)
            assert (reply.status_code == 401) == (expected == 401), path
            # A busy machine may be late, and so not ready.
            answers = {200, 503} if path == "/readyz" else {200}
            assert (await client.get(path, headers=bearer("hush"))).status_code in answers

    ask(fake_bundle, test, settings=Settings(api_key="hush", open_paths=opened))


def test_a_new_key_is_hashed_at_rest(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    secret = write(file, "search")["search"]
    assert secret not in file.read_text()
    assert read_keys(file)[0].sha256 == digest(secret.encode())
    assert os.path.getsize(file) < 200
    with pytest.raises(StartError):
        new_key("a b")
