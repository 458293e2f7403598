"""What several tests of training share: a tiny student, its tokenizer, and labelled pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig

from retort.models.encoding import PairEncoder, Truncation
from retort.training.data.pairs import Pair
from retort.training.nn.student import Head, Student

WORDS = 120
TRUNCATION = Truncation(max_length=48, max_query_tokens=12)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Networks this small gain nothing from a second thread, and wait long for it on a busy CPU.

    Measured where six test runs shared two cores: 4 s instead of 117 s for one training test.
    """
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of the words w0, w1, … and the special tokens."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{number}" for number in range(WORDS))]
    tokenizer = Tokenizer(
        WordLevel({token: number for number, token in enumerate(tokens)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = Whitespace()
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture
def encoder(tokenizer_path: Path) -> PairEncoder:
    """The tokenizer with the tests' truncation rule."""
    return PairEncoder.from_file(tokenizer_path, TRUNCATION)


@pytest.fixture
def truncation() -> Truncation:
    """The truncation rule of the tests."""
    return TRUNCATION


@pytest.fixture
def tiny_student() -> Student:
    """Two layers, 32 wide, a golden, a linear and a cosine head; its scores spread from 0 to 1."""
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=WORDS + 4,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    heads = [
        Head("golden"),
        Head("soft-cross", teacher="cross"),
        Head("soft-bi", kind="cosine", teacher="bi"),
    ]
    student = Student(config, heads).eval()
    # As initialised, every pair gets much the same score: nothing that breaks would be seen.
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if name.endswith(("embeddings.weight", "linear.weight")):
                parameter.normal_(0.0, 0.5)
            elif name.endswith("weight") and parameter.dim() == 2:
                parameter.normal_(0.0, 0.2)
        student.gain.copy_(torch.tensor([0.5, 2.0, 1.5]))
        student.shift.copy_(torch.tensor([0.25, -0.5, -1.0]))
    return student


@pytest.fixture(scope="session")
def labelled_pairs() -> tuple[Pair, ...]:
    """30 queries of 6 passages, one relevant each, of 1 to 60 words."""
    draw = np.random.default_rng(3)

    def text(low: int, high: int) -> str:
        length = int(draw.integers(low, high))
        return " ".join(f"w{number}" for number in draw.integers(0, WORDS, length))

    pairs = []
    for query in range(30):
        question = text(2, 15)
        relevant = int(draw.integers(0, 6))
        for passage in range(6):
            label = float(passage == relevant)
            pairs.append(Pair(question, text(1, 60), label, f"q{query}", f"p{passage}"))
    return tuple(pairs)
