"""The Grafana board: its shape, and that it queries only metrics that exist."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import yaml

from retort.service.metrics import Metrics
from tests.docker.dockerfile import DOCKER
from tests.docker.prometheus import (
    board,
    board_queries,
    metric_names,
    panels,
    rule_queries,
    rules,
)

SOURCE = {"type": "prometheus", "uid": "prometheus"}
SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "summary": ("_count", "_sum"),
    "histogram": ("_bucket", "_count", "_sum"),
}


def known_metrics() -> set[str]:
    """Every series that the service has, with or without a sample so far, or that is recorded."""
    families = list(Metrics().registry.collect())
    served = {f"{f.name}{suffix}" for f in families for suffix in SUFFIXES[f.type]}
    return served | {rule["record"] for rule in rules() if "record" in rule}


def test_the_board_names_itself_and_its_format() -> None:
    found = board()
    assert found["uid"] == "retort"
    assert found["title"]
    assert found["schemaVersion"] >= 39
    # An id is given by the Grafana that stores it: one in the file would be another's.
    assert "id" not in found


def test_its_variables_are_the_ones_that_are_used() -> None:
    (job,) = board()["templating"]["list"]
    assert (job["name"], job["datasource"]) == ("job", SOURCE)
    assert job["current"]["value"] == "retort"
    text = "".join(target["expr"] for panel in panels() for target in panel["targets"])
    assert 'job="$job"' in text
    assert text.count("$") == text.count("$job") + text.count("$__rate_interval")


def test_its_source_is_the_one_that_is_provisioned() -> None:
    provisioned = yaml.safe_load(
        (DOCKER / "grafana/provisioning/datasources/prometheus.yaml").read_text(encoding="utf-8")
    )
    (source,) = provisioned["datasources"]
    assert {key: source[key] for key in SOURCE} == SOURCE
    for panel in panels():
        assert panel["datasource"] == SOURCE
        assert all(target["datasource"] == SOURCE for target in panel["targets"])


def test_panel_numbers_and_titles_are_unique() -> None:
    everything = board()["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    assert len({panel["title"] for panel in everything}) == len(everything)


def test_panels_lie_side_by_side() -> None:
    def covers(panel: dict[str, Any]) -> set[tuple[int, int]]:
        at = panel["gridPos"]
        return set(
            itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"]))
        )

    places = [covers(panel) for panel in board()["panels"]]
    assert all(0 <= x < 24 for place in places for x, _ in place)
    assert len(set().union(*places)) == sum(map(len, places))


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_panels_are_whole(panel: dict[str, Any]) -> None:
    assert panel["type"] in ("stat", "timeseries", "table")
    assert panel["targets"]
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references)
    assert {"defaults", "overrides"} <= set(panel["fieldConfig"])
    if panel["type"] != "table":
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["legendFormat"] for target in panel["targets"])


@pytest.mark.parametrize("query", board_queries() + rule_queries(), ids=lambda query: query.place)
def test_queries_ask_for_metrics_that_there_are(query: Any) -> None:
    names = metric_names(query.text)
    assert names or "up{" in query.text or "ALERTS" in query.text
    assert names <= known_metrics()


def test_what_the_board_is_for_is_on_it() -> None:
    asked = {name for query in board_queries() for name in metric_names(query.text)}
    recorded = {rule["record"]: metric_names(rule["expr"]) for rule in rules() if "record" in rule}
    for _ in recorded:
        asked |= {deeper for name in asked for deeper in recorded.get(name, ())}
    families = {family.name for family in Metrics().registry.collect()}
    unseen = {name for name in families if not any(a.startswith(name) for a in asked)}
    assert unseen == set()
