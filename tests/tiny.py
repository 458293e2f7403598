"""The tiny bundle: two layers, width 32, a vocabulary of a few dozen word pieces.

It is a trained student in everything but size, so tests run the real road in milliseconds.
`python -m tests.tiny` makes `tests/tiny-bundle` again, in about a minute.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import BertConfig

from retort.models.bundle import Bundle, write_bundle
from retort.models.encoding import PairEncoder, Truncation
from retort.models.golden import GoldenPair
from retort.models.manifest import Architecture, HeadInfo, Manifest, WeightPrecision
from retort.models.scores import combine
from retort.training.data.pairs import Pair
from retort.training.export.bundling import export_graph
from retort.training.nn.batching import TokenBatch, TokenTable, single_units
from retort.training.nn.loop import Progress, fit
from retort.training.nn.student import Head, Student
from retort.training.recipes.parts.common import Optimiser
from tests.tiny_texts import WORDS, golden_texts, make_tokenizer

HEADS = (Head("golden"), Head("soft-ce", teacher="ce"), Head("soft-bi", "cosine", teacher="bi"))


def make_student(vocabulary: int, truncation: Truncation) -> Student:
    """A student of random weights."""
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=truncation.max_length,
        initializer_range=0.1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return Student(config, HEADS).eval()


def make_tiny_bundle(folder: Path) -> Bundle:
    """Make the bundle and write it to `folder`."""
    truncation = Truncation(max_length=64, max_query_tokens=16)
    tokenizer = make_tokenizer()
    encoder = PairEncoder(tokenizer, truncation)
    student = make_student(tokenizer.get_vocab_size(), truncation)
    work = folder.parent
    work.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(work / "tokenizer.json"))
    train(student, encoder, work)
    export_graph(student, work / "model.onnx", "fp32")
    return write_bundle(
        folder,
        manifest=Manifest(
            name="tiny",
            version="0.0.1",
            created="2026-01-01T00:00:00+00:00",
            architecture=Architecture(
                layers=2, width=32, attention_heads=2, vocabulary=tokenizer.get_vocab_size()
            ),
            truncation=truncation,
            heads=tuple(
                HeadInfo(
                    name=head.name,
                    kind="soft" if head.teacher else "golden",
                    teacher=head.teacher,
                )
                for head in HEADS
            ),
            precision=WeightPrecision(storage="fp32"),
            methods=("hard labels",),
        ),
        graph=work / "model.onnx",
        tokenizer=work / "tokenizer.json",
        golden=[_golden(student, encoder, *texts) for texts in golden_texts()],
    )


def _golden(student: Student, encoder: PairEncoder, query: str, passage: str) -> GoldenPair:
    batch = encoder.collate(encoder.encode(query, [passage]))
    with torch.inference_mode():
        logits = student(
            torch.from_numpy(batch.input_ids),
            torch.from_numpy(batch.attention_mask),
            torch.from_numpy(batch.token_type_ids),
        )
    return GoldenPair(
        query, passage, tuple(logits[0].tolist()), float(combine(logits.numpy()).score[0])
    )


def train(student: Student, encoder: PairEncoder, folder: Path) -> None:
    """Teach every head that a passage answers when it names the query's word."""
    words = [word for word in WORDS if len(word) > 3]
    pairs = [
        Pair(f"{ask} {a}", f"{start} {b} {end}", float(a == b))
        for a in words
        for b in (a, *words)
        for ask in ("what is", "where is the")
        for start, end in (("the", "is old"), ("by a", "in it"))
    ]
    labels = torch.tensor([pair.label for pair in pairs])

    def objective(module: nn.Module, batch: TokenBatch, progress: Progress) -> Tensor:
        logits: Tensor = module(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        wanted = labels[batch.rows][:, None].expand_as(logits)
        return nn.functional.binary_cross_entropy_with_logits(logits, wanted)

    table = TokenTable(encoder, pairs)
    plan = Optimiser(lr=2e-3, epochs=60, batch_pairs=64, precision="no", freeze_words=False)
    curve = fit(
        student, table, single_units(len(pairs)), objective, plan,
        folder=folder, seed=1, checkpoint_steps=10_000, title="tiny",
    )  # fmt: skip
    print(f"tiny: {len(pairs)} pairs, loss {curve[0][1]:.3f} to {curve[-1][1]:.3f}")
    student.eval()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        made = make_tiny_bundle(Path(work) / "tiny-bundle")
        target = Path(__file__).parent / "tiny-bundle"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(made.folder, target)
        print(f"{target}: {sum(path.stat().st_size for path in target.iterdir()) / 1e3:.0f} kB")
