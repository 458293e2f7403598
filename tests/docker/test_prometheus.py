"""Prometheus's configuration and rules, by its own tool, and against the service."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import get_args

import pytest
import yaml

from retort.models.bundle import Bundle
from retort.service.errors import ServiceError
from retort.service.http.app import create_app
from retort.service.metrics import STAGES, CascadeOutcome, Role, ShadowOutcome
from retort.service.settings import PREFIX, Settings
from tests.docker.dockerfile import DOCKER, ROOT
from tests.docker.prometheus import CONFIG, RULES, installed, rules
from tests.fake_bundle import overlap
from tests.service.running import fake_service

ALERTS = [rule for rule in rules() if "alert" in rule]
RECORDED = [rule for rule in rules() if "record" in rule]


def promtool(*arguments: str) -> str:
    done = subprocess.run(
        ["promtool", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@installed
def test_promtool_accepts_the_configuration() -> None:
    assert f"{len(rules())} rules found" in promtool("check", "config", str(CONFIG))
    promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))


@installed
def test_every_alert_fires_when_it_should_and_not_before() -> None:
    promtool("test", "rules", str(Path(__file__).parent / "alerts.test.yml"))


def test_every_alert_has_a_test() -> None:
    tests = yaml.safe_load((Path(__file__).parent / "alerts.test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test.get("alert_rule_test", [])]
    fired = {case["alertname"] for case in cases if case["exp_alerts"]}
    assert fired == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_alerts_say_what_is_wrong_and_what_to_do(rule: dict[str, object]) -> None:
    labels, notes = rule["labels"], rule["annotations"]
    assert isinstance(labels, dict)
    assert isinstance(notes, dict)
    assert labels["severity"] in ("page", "warn")
    assert set(notes) == {"summary", "description"}
    variables = set(re.findall(rf"{PREFIX}[A-Z_]+", str(notes)))
    assert variables <= {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert f"`{rule['alert']}`" in page


def test_requests_for_scores_are_those_of_the_scoring_routes(tiny_bundle: Bundle) -> None:
    (rule,) = [rule for rule in RECORDED if rule["record"].startswith("status:")]
    (asked,) = re.findall(r'route=~"([^"]+)"', rule["expr"])
    posts = {
        path
        for path, methods in create_app(fake_service(tiny_bundle, overlap, Settings()))
        .openapi()["paths"]
        .items()
        if "post" in methods and not path.startswith("/admin/")
    }
    assert set(asked.split("|")) == posts


def test_labels_have_the_values_that_the_service_gives_them() -> None:
    text = RULES.read_text(encoding="utf-8")
    known = {
        "outcome": {*get_args(ShadowOutcome), *get_args(CascadeOutcome)},
        "reason": {error.type for error in ServiceError.__subclasses__()},
        "role": set(get_args(Role)),
        "stage": set(STAGES),
        "status": {str(error.status) for error in ServiceError.__subclasses__()},
    }
    for label, values in known.items():
        asked = {part for found in re.findall(rf'\b{label}=~?"([^"]+)"', text)
                 for part in found.split("|")}  # fmt: skip
        assert asked, label
        assert asked <= values


def test_what_is_asked_for_is_where_compose_puts_it() -> None:
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    (found,) = jobs["retort"]["dns_sd_configs"]
    assert set(found["names"]) <= set(compose["services"])
    assert found["port"] == Settings.model_fields["port"].default
    # The rules name the job.
    assert 'job="retort"' in RULES.read_text(encoding="utf-8")
