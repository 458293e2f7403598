"""BM25 reads scripts with and without spaces between words."""

from __future__ import annotations

import pytest

from retort.training.data.mining.bm25 import bm25, bm25_scores, tokens, word_count

# A question, the passage that answers it and one of the same language that does not.
LANGUAGES = {
    "Chinese": ("长城在哪里", "长城位于中国北方。", "大熊猫吃竹子。"),
    "one Han character": ("水", "地球上有很多水。", "大熊猫吃竹子。"),
    "Japanese": ("富士山の高さは", "富士山は日本で一番高い山です。", "カタカナで書いてください。"),
    "Korean": ("서울은 어디에 있나요", "서울의 인구는 천만 명이다.", "김치는 맛있다."),
    "Thai": ("ช้างกินอะไร", "อาหารของช้างคือหญ้า", "เมืองหลวงของไทย"),
    "Lao": ("ແມ່ນ້ຳຂອງ", "ນ້ຳຂອງຍາວ", "ພາສາລາວ"),
    "Khmer": ("ភ្នំពេញ", "រាជធានីភ្នំពេញ", "ភាសាខ្មែរ"),
    "Burmese": ("ရန်ကုန်မြို့", "ရန်ကုန်သည်မြို့ကြီး", "ထမင်း"),
    "Arabic": ("أين تقع القاهرة", "القاهرة هي عاصمة مصر", "يأكل الفيل العشب"),
    "Hindi": ("दिल्ली कहाँ है", "दिल्ली भारत की राजधानी है", "हाथी घास खाता"),
    "mixed": ("iPhone的价格", "一部IPHONE要多少钱", "大熊猫吃竹子。"),
    "full width": ("２０２４年", "In 2024 it rained", "大熊猫吃竹子。"),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_script_is_found_by_its_words(language: str) -> None:
    query, right, wrong = LANGUAGES[language]
    found, scores = bm25([wrong, right], [query], 2)
    assert found[0, 0] == 1
    assert scores[0, 0] > 0
    assert scores[0, 1] < scores[0, 0]


def test_bm25_finds_the_nearest_and_survives_empty_queries() -> None:
    passages = ["red apples", "green pears", "blue plums"]
    found, scores = bm25(passages, ["pears", "the", "zebra", "?!", "长城"], 2)
    assert found.shape == (5, 2)
    assert found[0, 0] == 1
    assert scores[0, 0] > 0
    assert (scores[1:] == 0).all()


def test_passages_without_a_word_are_an_index_too() -> None:
    _, scores = bm25(["?!", "..."], ["pears"], 5)
    assert scores.tolist() == [[0.0, 0.0]]
    assert bm25_scores(["pears", "?!"], ["pears"], [[1, 0]])[0][1] > 0


def test_tokens_of_each_script() -> None:
    assert tokens("The red a2 x") == ["red", "a2"]
    assert tokens("iPhone的价格 水") == ["iphone", "的价", "价格", "的", "价", "格", "水"]
    assert tokens("ไทย") == ["ไท", "ทย"]
    assert tokens("हिन्दी में") == ["हिन्दी", "में"]  # vowels are marks and belong to the word
    assert tokens("café naïve") == ["café", "naïve"]


def test_words_are_counted_where_no_space_stands_between_them() -> None:
    assert word_count("One two three.") == 3
    assert word_count("我爱北京天安门。") == 3
    assert word_count("一部 iPhone 15 要多少钱?") == 2 + 3
    assert word_count("un café – là") == 4
