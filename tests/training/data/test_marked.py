"""Marked passages: what is marked is the sentence that answers."""

from __future__ import annotations

import json
from pathlib import Path

from retort.training.data.marked import NEIGHBOURS, marked_qed, marked_selqa, marked_squad


def test_squads_sentences_stand_among_their_neighbours(tmp_path: Path) -> None:
    folder = tmp_path / "squad_reqa"
    folder.mkdir()
    # Candidates are in no order; the questions are.
    candidates = [f"Sentence {n} says so." for n in range(40)]
    data = {
        "candidates": candidates[::-1],
        "questions": [f"what says sentence {n}" for n in range(40)],
        "ground_truths": [[39 - n] for n in range(40)],
    }
    (folder / "test.json").write_text(json.dumps(data))
    marked = marked_squad(tmp_path, 40, seed=1)
    assert len(marked) == 40
    places = set()
    for one in marked:
        number = int(one.query.rpartition(" ")[2])
        (span,) = one.right
        assert one.passage[span.start : span.end] == candidates[number]
        own = [n for n in range(40) if candidates[n] in one.passage]
        assert len(own) == NEIGHBOURS
        assert own == list(range(own[0], own[0] + NEIGHBOURS))
        places.add(own.index(number))
    assert places == set(range(NEIGHBOURS))


def test_qed_has_the_questions_that_one_sentence_answers(tmp_path: Path) -> None:
    folder = tmp_path / "qed_nq"
    folder.mkdir()
    rows = [
        {
            "example_id": number,
            "question_text": f"question {number}",
            "paragraph_text": "No . It is so .",
            "annotation": {
                "explanation_type": kind,
                "selected_sentence": {"start": 5, "end": 15, "string": "It is so ."},
            },
        }
        for number, kind in enumerate(["single_sentence", "multi_sentence"])
    ]
    (folder / "qed-dev.jsonlines").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (one,) = marked_qed(tmp_path)
    assert one.query == "question 0"
    assert [one.passage[a:b] for a, b in one.right] == ["It is so ."]


def test_selqa_marks_every_right_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "selqa"
    folder.mkdir()
    rows = [
        "who\tOne .\t1",
        "who\tTwo .\t0",
        "who\tThree .\t1",
        "what\tFour .\t0",
        "what\tFive .\t0",
    ]
    (folder / "selqa-ass-dev.tsv").write_text("\n".join(rows) + "\n")
    (one,) = marked_selqa(tmp_path, 10, seed=1)
    assert one.passage == "One . Two . Three ."
    assert [one.passage[a:b] for a, b in one.right] == ["One .", "Three ."]
