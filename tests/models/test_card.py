from __future__ import annotations

from retort.models.answerability import Answerability
from retort.models.card import render_card
from retort.models.manifest import Agreement, DataSource
from retort.models.scores import Calibration
from tests.fake_bundle import make_manifest
from tests.models.test_manifest import full_manifest


def test_a_full_card_has_everything() -> None:
    manifest = full_manifest().model_copy(
        update={"methods": ("TMKD",), "data": (DataSource(name="QED", licence="CC BY-SA 3.0"),)}
    )
    card = render_card(manifest)
    assert card.startswith("# fake\n")
    for told in (
        "TMKD",
        "QED",
        "CC BY-SA 3.0",
        "0.77 to 0.83",
        "0.9900",
        "soft-ce",
        "retort serve",
    ):
        assert told in card


def test_what_is_not_known_is_left_out() -> None:
    card = render_card(make_manifest())
    assert "How good it is" not in card
    assert "How close" not in card
    assert "learned from\n" not in card


def test_a_bar_does_not_break_a_table() -> None:
    manifest = make_manifest().model_copy(update={"methods": ("a|b",)})
    assert r"a\|b" in render_card(manifest)


def test_an_ensemble_and_an_agreement_are_on_the_card() -> None:
    manifest = make_manifest()
    size = manifest.architecture.model_copy(update={"encoders": 3, "layers": 18})
    agreement = Agreement(teacher="teachers", top1=0.9, low=0.85, high=0.94, queries=600)
    told = {"architecture": size, "agreement": agreement}
    card = render_card(manifest.model_copy(update=told))
    assert "| encoders | 3, together 18 layers" in card
    assert "On 90.0% of 600 held-out queries" in card
    assert "`teachers` does (95% interval 0.85 to 0.94)." in card


def test_the_maps_of_score_and_answerable_are_on_the_card() -> None:
    plain = render_card(make_manifest())
    assert "calibrate" not in plain
    assert "answerable" not in plain
    maps = {
        "calibration": Calibration(1.25, -0.5),
        "answerability": Answerability(0.125, 1.5, -0.25, -0.75),
    }
    card = render_card(make_manifest().model_copy(update=maps))
    assert "times 1.250, -0.500" in card
    assert "`0.125 +1.500 z1 -0.250 z2 -0.750 ln(n)`" in card
