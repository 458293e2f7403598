"""The peers: found by name, started from where they lie, and never asking a hub."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from retort.loadtest.cli_peers import peers as command
from retort.loadtest.peers.peer import PEERS, SERVERS, Places, find_peers

PLACES = Places(Path("/made/student"), Path("/made/segments"), Path("/made/bundle"))


def test_ours_is_always_among_them() -> None:
    assert [peer.name for peer in find_peers(("litserve",))] == ["retort", "litserve"]
    assert find_peers(()) == PEERS
    with pytest.raises(ValueError, match="no peer is called tei: there are retort, "):
        find_peers(("tei",))


def test_each_is_started_from_its_own_environment() -> None:
    python = Path("/envs/infinity/bin/python")
    for peer in PEERS:
        words = peer.command(PLACES, python)
        if peer.name.startswith("infinity"):
            assert "/envs/infinity/bin/infinity_emb" in words
            folder = "segments" if peer.name == "infinity-segments" else "student"
            assert words[:3] == ["env", "-C", f"/made/{folder}"]
        elif peer.environment:
            assert words[0] == str(python)
            assert Path(words[1]).parent == SERVERS
            assert Path(words[1]).is_file()
            assert words[2] == "/made/student"
        else:
            assert words[1:5] == ["-m", "retort", "serve", "--bundle"]


def test_settings_are_for_ours_alone() -> None:
    told = replace(PLACES, settings=Path("/tuned.yaml"))
    for peer in PEERS:
        ours = peer.name.startswith("retort")
        assert ("/tuned.yaml" in peer.command(told, Path("/python"))) is ours


def test_none_asks_a_hub_or_reports_its_use() -> None:
    for peer in PEERS:
        variables = peer.environ()
        assert (variables["HF_HUB_OFFLINE"], variables["DO_NOT_TRACK"]) == ("1", "1")


def test_the_help_names_them_all() -> None:
    told = (command.__doc__ or "").replace("\n", " ")
    assert all(f" {peer.name}" in told for peer in PEERS)
