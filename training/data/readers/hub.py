"""The same sets by name from the Hugging Face hub, where there is a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from retort.training.data.pairs import Pair
from retort.training.data.readers.rows import DataError

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class HubSet:
    """Where a set lies on the hub and how its rows become pairs."""

    path: str
    config: str | None
    convert: Callable[[Row, int], Iterator[Pair]]


def _wikiqa(row: Row, number: int) -> Iterator[Pair]:
    query_id = f"wikiqa-{row['question_id']}"
    yield Pair(row["question"], row["answer"], float(row["label"]), query_id, f"row-{number}")


def _squad(row: Row, number: int) -> Iterator[Pair]:
    label = 1.0 if row["answers"]["text"] else 0.0
    yield Pair(row["question"], row["context"], label, f"squad-{row['id']}", row["context"])


def _msmarco(row: Row, number: int) -> Iterator[Pair]:
    passages = row["passages"]
    for place, (text, chosen) in enumerate(
        zip(passages["passage_text"], passages["is_selected"], strict=True)
    ):
        query_id = f"msmarco-{row['query_id']}"
        yield Pair(row["query"], text, float(chosen), query_id, f"{query_id}-{place}")


def _glue(task: str, query: str, passage: str, row: Row, number: int) -> Iterator[Pair]:
    label = None if row["label"] < 0 else 1.0 - float(row["label"])  # 0 is entailment
    name = f"{task}-{row['idx']}"
    yield Pair(row[query], row[passage], label, name, name)


HUB_SETS = {
    "wikiqa": HubSet("microsoft/wiki_qa", None, _wikiqa),
    "squad": HubSet("rajpurkar/squad", None, _squad),
    "squad-v2": HubSet("rajpurkar/squad_v2", None, _squad),
    "msmarco": HubSet("microsoft/ms_marco", "v1.1", _msmarco),
    "qnli": HubSet("nyu-mll/glue", "qnli", partial(_glue, "qnli", "question", "sentence")),
    "rte": HubSet("nyu-mll/glue", "rte", partial(_glue, "rte", "sentence2", "sentence1")),
}


def read_hub(source: str, *, path: str | None = None) -> list[Pair]:
    """`name/split` from the hub; `path` reads a local copy of the set instead.

    Raises `DataError` for an unknown name or when the hub cannot be reached.
    """
    name, _, split = source.partition("/")
    if name not in HUB_SETS or not split:
        raise DataError(
            f"hub:{source}: write hub:NAME/SPLIT with a name of {', '.join(sorted(HUB_SETS))}"
        )
    entry = HUB_SETS[name]
    from datasets import load_dataset

    try:
        rows = load_dataset(path or entry.path, None if path else entry.config, split=split)
    except (OSError, ValueError) as error:
        raise DataError(
            f"hub:{source}: cannot be loaded from {path or entry.path}: {error}"
        ) from error
    return [pair for number, row in enumerate(rows) for pair in entry.convert(row, number)]
