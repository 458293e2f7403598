"""Leaks are refused, by name and by text."""

from __future__ import annotations

import pytest

from retort.training.data.leaks import HeldOut, LeakError, check_sources
from retort.training.data.pairs import REVIEW_QUERY, Pair


def test_test_splits_and_their_relatives_are_refused_together() -> None:
    with pytest.raises(LeakError) as caught:
        check_sources(
            ["neuronblocks/test", "wikiqa/dev", "squad-nqg/test"],
            ["squad-reqa/test", "wikiqa/dev"],
            ["squad", "quora"],
        )
    message = str(caught.value)
    assert "neuronblocks/test is a test split" in message
    assert "wikiqa/dev is both trained on and measured on" in message
    assert "the questions squad are those of squad-reqa/test" in message
    assert "squad-nqg/test" not in message  # cut from SQuAD train, in spite of its name
    assert "quora" not in message


def test_squad_dev_under_another_name_is_refused() -> None:
    with pytest.raises(LeakError, match="squad-nqg/dev is a test split"):
        check_sources(["squad-nqg/dev"], ["squad-reqa/test"])


def test_a_sound_plan_passes() -> None:
    check_sources(["squad-reqa/train", "qed/train"], ["squad-reqa/test", "qed/dev"], ["nq-dev"])


def test_held_out_text_is_recognised_in_another_spelling() -> None:
    held = HeldOut([Pair("Who wrote Hamlet?", "Shakespeare did.")])
    pairs = [Pair("who wrote  hamlet", "x"), Pair("y", "SHAKESPEARE did"), Pair("y", "x")]
    kept, dropped = held.drop(pairs)
    assert kept == [Pair("y", "x")]
    assert dropped == 2
    with pytest.raises(LeakError, match="1 queries are held out"):
        held.check(pairs, "table")


def test_an_instruction_is_not_held_out() -> None:
    held = HeldOut([Pair(REVIEW_QUERY, "A fine film.")])
    other = Pair(REVIEW_QUERY, "A dull film.")
    assert held.drop([other, Pair(REVIEW_QUERY, "a fine film")]) == ([other], 1)
    held.check([other], "table")
