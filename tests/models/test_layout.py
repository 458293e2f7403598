"""A pair that is laid out as RoBERTa lays it out, from text to batch."""

from __future__ import annotations

import dataclasses

import pytest

from retort.models.bundle import Bundle
from retort.models.encoding import PairEncoder, Truncation
from retort.models.layout import INPUTS, NEEDED, PairLayout, bert_layout
from retort.models.manifest import Manifest, parse_manifest
from retort.models.reading.windows import Reading
from retort.models.runtime.gpu import pad
from retort.service.engine.pairs import Pairs
from retort.service.engine.tokenization import Tokenization
from tests.tiny_texts import make_tokenizer

# Ids that no word has: 100 query 101 102 passage 103 104, padded with 7.
LAYOUT = PairLayout((100,), (101, 102), (103, 104), boundary=1, pad_id=7)
TRUNCATION = Truncation(24, 8)
NARROW = {"max_length": 12, "max_query_tokens": 7}


def make_encoder(layout: PairLayout | None = LAYOUT) -> PairEncoder:
    return PairEncoder(make_tokenizer(), TRUNCATION, layout)


def test_special_tokens_stand_where_the_layout_says() -> None:
    encoder = make_encoder()
    query, passage = "the tower", "the old river"
    words = [encoder.encode_query(text).ids.tolist() for text in (query, passage)]
    (pair,) = encoder.encode(query, [passage])
    assert pair.ids.tolist() == [100, *words[0], 101, 102, *words[1], 103, 104]
    batch = encoder.collate([pair], 12)
    assert batch.input_ids[0].tolist() == [*pair.ids, *[7] * (12 - len(pair))]
    first = 1 + len(words[0]) + 1
    types = [0] * first + [1] * (len(pair) - first) + [0] * (12 - len(pair))
    assert batch.token_type_ids[0].tolist() == types


def test_a_graph_is_fed_what_it_takes() -> None:
    encoder = make_encoder(dataclasses.replace(LAYOUT, inputs=NEEDED))
    batch = encoder.collate(encoder.encode("the tower", ["the old river"]))
    assert list(batch.feed(encoder.layout.inputs)) == ["input_ids", "attention_mask"]
    assert list(batch.feed(INPUTS)) == list(INPUTS)


def test_a_long_passage_fills_the_pair_to_its_last_token() -> None:
    encoder = make_encoder()
    (pair,) = encoder.encode("the tower", ["old " * 30])
    assert len(pair) == TRUNCATION.max_length
    assert pair.truncated


def test_without_a_layout_it_is_that_of_bert() -> None:
    tokenizer = make_tokenizer()
    known = tokenizer.get_vocab()
    cls, sep = (known["[CLS]"],), (known["[SEP]"],)
    assert make_encoder(None).layout == PairLayout(cls, sep, sep, 1, known["[PAD]"])
    assert make_encoder(None).layout == bert_layout(tokenizer)


def test_no_special_token_at_all_is_a_layout_too() -> None:
    encoder = make_encoder(PairLayout((), (), (), 0, 7))
    (pair,) = encoder.encode("the tower", ["the old river"])
    assert len(pair) == 5
    assert pair.boundary == 2


@pytest.mark.parametrize("long", [False, True])
def test_a_server_lays_out_pairs_and_windows_as_the_encoder_does(long: bool) -> None:
    encoder = make_encoder()
    tokenization = Tokenization(encoder)
    passage = "the old city and the river. " * (9 if long else 1)
    queries, passages = tokenization.queries(["the tower"]), tokenization.passages([passage])
    read = tokenization.read(queries, [passage], passages, Reading())
    assert (read != [None]) == long
    pairs = tokenization.chunk(queries, passages, read).pairs()
    head, text = encoder.encode_query("the tower"), encoder.encode_passages([passage])[0]
    windows = read[0].windows if read[0] is not None else ((0, len(text.ids)),)
    expected = Pairs.of([encoder.join_window(head, text, window) for window in windows])
    assert len(windows) > 2 if long else len(windows) == 1
    assert pairs.ids.tolist() == expected.ids.tolist()
    assert pairs.lengths.tolist() == expected.lengths.tolist()
    assert pairs.boundaries.tolist() == expected.boundaries.tolist()
    assert max(pairs.lengths) <= TRUNCATION.max_length


def test_a_bucket_of_a_gpu_is_filled_with_the_padding_token() -> None:
    encoder = make_encoder()
    batch = encoder.collate(encoder.encode("the tower", ["the old river"]))
    padded = pad(batch, 2, 16, encoder.pad_id)
    assert padded.input_ids[0, batch.shape[1] :].tolist() == [7] * (16 - batch.shape[1])
    assert padded.input_ids[1].tolist() == [7] * 16
    assert padded.attention_mask[1].tolist() == [1] + [0] * 15


@pytest.mark.parametrize(
    "change",
    [{"pad_id": -1}, {"between": (-2,)}, {"boundary": 3}, {"inputs": ("input_ids",)}],
)
def test_what_no_pair_can_have_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # each has a sentence of its own
        dataclasses.replace(LAYOUT, **change)  # type: ignore[arg-type]


def test_the_longest_query_has_to_leave_a_passage_room() -> None:
    with pytest.raises(ValueError, match="the special tokens, 5 of them"):
        PairEncoder(make_tokenizer(), Truncation(**NARROW), LAYOUT)


def test_a_manifest_says_another_layout_and_is_silent_on_berts(tiny_bundle: Bundle) -> None:
    own = tiny_bundle.manifest
    assert "layout" not in own.to_json()
    assert own.inputs == INPUTS
    other = own.model_copy(update={"layout": dataclasses.replace(LAYOUT, inputs=NEEDED)})
    found = parse_manifest(tiny_bundle.folder, other.to_json().encode())
    assert found == other
    assert found.inputs == NEEDED


@pytest.mark.parametrize(
    "change",
    [
        {"layout": {**dataclasses.asdict(LAYOUT), "pad_id": 10**6}},
        {
            "layout": dataclasses.asdict(LAYOUT),
            "truncation": NARROW,
        },
    ],
)
def test_a_manifest_whose_layout_does_not_fit_is_refused(
    tiny_bundle: Bundle, change: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match=r"graph knows|leave the passage"):
        Manifest.model_validate({**tiny_bundle.manifest.model_dump(), **change})
