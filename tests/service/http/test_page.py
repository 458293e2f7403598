"""The page's files, over HTTP."""

from __future__ import annotations

import re

import httpx
import pytest

from retort.models.bundle import Bundle
from retort.service.http.page import FILES, FOLDER
from retort.service.service import Service
from retort.service.settings import Settings
from tests.service.running import ask

TEXTS = {name: (FOLDER / name).read_text(encoding="utf-8") for name, _ in FILES.values()}
PAGES = {name: text for name, text in TEXTS.items() if name.endswith(".html")}
SCRIPTS = {name: text for name, text in TEXTS.items() if name.endswith(".js")}


def test_every_file_is_served_as_what_it_is(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        for path, (name, media_type) in FILES.items():
            reply = await client.get(path)
            assert reply.status_code == 200
            assert reply.text == TEXTS[name]
            assert reply.headers["content-type"] == media_type
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert (await client.head(path)).status_code == 200

    ask(fake_bundle, test)


def test_every_file_of_the_folder_is_served() -> None:
    assert {file.name for file in FOLDER.iterdir()} == {name for name, _ in FILES.values()}


def test_the_policy_lets_nothing_in_from_elsewhere(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        for path in FILES:
            policy = (await client.get(path)).headers["content-security-policy"]
            directives = dict(line.split(" ", 1) for line in policy.split("; "))
            assert directives["default-src"] == "'none'"
            assert directives["require-trusted-types-for"] == "'script'"
            assert set(directives.values()) <= {"'none'", "'self'", "'script'"}

    ask(fake_bundle, test)


def test_a_browser_asks_whether_its_copy_is_still_good(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        for path in FILES:
            first = await client.get(path)
            assert first.headers["cache-control"] == "no-cache"
            tag = {"If-None-Match": first.headers["etag"]}
            again = await client.get(path, headers=tag)
            assert (again.status_code, again.content) == (304, b"")
            stale = await client.get(path, headers={"If-None-Match": '"0"'})
            assert stale.status_code == 200

    ask(fake_bundle, test)


def test_the_page_needs_no_key_and_the_api_does(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        for path in FILES:
            assert (await client.get(path)).status_code == 200
        assert (await client.get("/comparison")).status_code == 401

    ask(fake_bundle, test, settings=Settings(api_key="hush"))


def test_the_page_is_counted_by_its_own_paths(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        await client.get("/")
        await client.get("/page/page.js")
        metrics = (await client.get("/metrics")).text
        assert 'retort_requests_total{route="/",status="200"} 1.0' in metrics
        assert 'retort_requests_total{route="/page/page.js",status="200"} 1.0' in metrics

    ask(fake_bundle, test)


@pytest.mark.parametrize("name", TEXTS)
def test_no_file_names_another_host(name: str) -> None:
    # The namespace is a name; nobody fetches it.
    text = TEXTS[name].replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"(https?:|wss?:|[\"'(]|url\()//", text)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_is_relative_and_leads_to_a_file(page: str) -> None:
    links = re.findall(r'(?:href|src)="([^"]*)"', PAGES[page])
    assert links
    for link in links:
        assert f"/{link.removeprefix('./')}" in {*FILES, "/info", "/metrics", "/openapi.json"}
    for text in SCRIPTS.values():
        for module in re.findall(r'from "\./([^"]*)"', text):
            assert f"/page/{module}" in FILES


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_inline(page: str) -> None:
    inline = r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|javascript:"
    assert not re.search(inline, PAGES[page])


@pytest.mark.parametrize("name", SCRIPTS)
def test_texts_are_never_read_as_markup(name: str) -> None:
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|setHTML"
    assert not re.search(ways, SCRIPTS[name])
