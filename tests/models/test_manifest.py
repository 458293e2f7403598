from __future__ import annotations

import pytest
from pydantic import ValidationError

from retort.models.manifest import (
    Agreement,
    Figure,
    Manifest,
    Parity,
    ParityBounds,
    Range,
    ShapeProfile,
)
from tests.fake_bundle import make_manifest


def full_manifest() -> Manifest:
    return make_manifest().model_copy(
        update={
            "quality": {"WikiQA MAP": Figure(value=0.8, low=0.77, high=0.83, n=233, note="test")},
            "parity": Parity(
                pairs=1000,
                queries=100,
                top1_agreement=0.99,
                kendall_tau=0.98,
                max_score_difference=0.01,
                ndcg_change=-0.001,
                bounds=ParityBounds(
                    top1_agreement=0.97,
                    kendall_tau=0.95,
                    max_score_difference=0.05,
                    ndcg_change=0.005,
                ),
            ),
            "shape_profiles": (
                ShapeProfile(
                    batch=Range(min=1, opt=32, max=64), sequence=Range(min=1, opt=2, max=3)
                ),
            ),
        }
    )


def test_json_round_trip() -> None:
    manifest = full_manifest()
    assert Manifest.model_validate_json(manifest.to_json()) == manifest


def test_a_release_that_does_not_know_trimming_reads_a_whole_graph() -> None:
    manifest = make_manifest()
    assert '"trimmed"' not in manifest.to_json()
    size = manifest.architecture.model_copy(update={"trimmed": True})
    trimmed = manifest.model_copy(update={"architecture": size})
    assert '"trimmed": true' in trimmed.to_json()
    assert Manifest.model_validate_json(trimmed.to_json()) == trimmed


def test_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        make_manifest().version = "2"  # type: ignore[misc]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../up"},
        {"created": "yesterday"},
        {"heads": []},
        {"schema_version": 2},
        {"combine": "max"},
        {"truncation": {"max_length": 8, "max_query_tokens": 8}},
        {"truncation": {"max_length": 64, "max_query_tokens": 8, "side": "left"}},
        {"precision": {"storage": "int4"}},
        {"shape_profiles": [{"batch": {"min": 2, "opt": 1, "max": 3}, "sequence": {}}]},
    ],
)
def test_wrong_values_are_refused(change: dict[str, object]) -> None:
    raw = make_manifest().model_dump() | change
    with pytest.raises(ValidationError, match=next(iter(change))):
        Manifest.model_validate(raw)


def test_an_agreement_is_read_back_and_its_absence_not_written() -> None:
    # A release that does not know the field refuses it: it is written only where it says something.
    assert '"agreement"' not in make_manifest().to_json()
    assert '"encoders"' not in make_manifest().to_json()
    agreement = Agreement(teacher="teachers", top1=0.9, low=0.85, high=0.94, queries=600)
    manifest = make_manifest().model_copy(update={"agreement": agreement})
    assert Manifest.model_validate_json(manifest.to_json()).agreement == agreement
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        Agreement(teacher="teachers", top1=90.0, queries=600)
