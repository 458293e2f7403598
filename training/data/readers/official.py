"""Readers of the official file formats, one function each: a folder and a split in, pairs out."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from retort.training.data.pairs import Pair, answered
from retort.training.data.readers.rows import (
    BadRows,
    DataError,
    binary_label,
    csv_rows,
    lines,
    locate,
    parse,
    read_json,
    unit_score,
)


def neuronblocks(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    """NeuronBlocks web QA: `query<TAB>passage<TAB>score or label`.

    `train` and `valid` carry the published BERT-large probability, `test` a human label.
    `demo` is the distinct hard-labelled pairs of the tutorial folders.
    """
    if split == "demo":
        yield from _neuronblocks_demo(folder, bad)
        return
    names = {"train": "train_softlabel_10k.tsv", "valid": "valid.tsv", "test": "test.tsv"}
    path = locate(folder, names[split])
    convert = binary_label if split == "test" else unit_score
    expected = "query<TAB>passage<TAB>" + ("0 or 1" if split == "test" else "a score from 0 to 1")
    for number, fields in parse(path, expected, bad, lambda line: _third(line, convert)):
        query, passage, label = fields
        yield Pair(query, passage, label, f"nb-{split}-{number}", f"nb-{split}-{number}")


def _third(line: str, convert: Callable[[str], float]) -> tuple[str, str, float]:
    fields = line.split("\t")
    if not fields[0].strip() or not fields[1].strip():
        raise ValueError(line)
    return fields[0].strip(), fields[1].strip(), convert(fields[2])


def _neuronblocks_demo(folder: Path, bad: BadRows) -> Iterator[Pair]:
    seen: set[tuple[str, str]] = set()
    for sub in ("demo", "advanced_demo"):
        for name in ("train.tsv", "valid.tsv", "test.tsv"):
            path = locate(folder / sub, name)
            expected = "query<TAB>passage<TAB>0 or 1"
            for number, fields in parse(path, expected, bad, lambda s: _third(s, binary_label)):
                query, passage, label = fields
                if (query, passage) not in seen:
                    seen.add((query, passage))
                    place = f"nb-{sub}-{path.name.split('.')[0]}-{number}"
                    yield Pair(query, passage, label, place, place)


def neuronblocks_queries(folder: Path, split: str, bad: BadRows) -> Iterator[str]:
    """The web queries of NeuronBlocks' query classifier (its scores are not of our task)."""
    path = locate(folder / "query_binary_classifier", f"{split}.tsv")
    for _, line in parse(path, "query<TAB>score", bad, lambda s: s.split("\t")[0].strip()):
        if line:
            yield line


def wikiqa(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    """WikiQA: `WikiQA-<split>.tsv` with its header where it is there, else `.txt`.

    `test-answered` and `dev-answered` keep the questions that have at least one right answer,
    as MAP and MRR are reported in the literature (243 of the test questions).
    """
    base, _, filtered = split.partition("-")
    pairs = _wikiqa(folder, base, bad)
    yield from answered(list(pairs)) if filtered else pairs


def _wikiqa(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    try:
        path = locate(folder, f"WikiQA-{split}.tsv")
    except DataError:
        path = locate(folder, f"WikiQA-{split}.txt")
        expected = "question<TAB>sentence<TAB>0 or 1"
        for number, row in parse(path, expected, bad, lambda s: _third(s, binary_label)):
            yield Pair(*row, f"wikiqa-{row[0]}", f"wikiqa-{split}-{number}")
        return
    columns = [
        "QuestionID", "Question", "DocumentID", "DocumentTitle", "SentenceID", "Sentence", "Label",
    ]  # fmt: skip
    for number, line in lines(path):
        fields = line.split("\t")
        if number == 1:
            if fields != columns:
                raise DataError(f"{path}, line 1: expected the header {columns}, found {fields}")
            continue
        try:
            label = binary_label(fields[6])
        except (ValueError, IndexError):
            bad.report(path, number, f"the columns {', '.join(columns)}", line)
            continue
        yield Pair(fields[1], fields[5], label, f"wikiqa-{fields[0]}", f"wikiqa-{fields[4]}")


def trecqa(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    """TREC-QA: `train`, `dev`, `test` (clean, CSV) and `train-all` (pattern labels, TSV)."""
    if split == "train-all":
        path = locate(folder, "train_all_pairs_1-2393.tsv")
        for number, line in lines(path):
            fields = line.split("\t")
            if number == 1 and fields[0] == "qid":
                continue
            try:
                qid, query, passage, mark = fields
                yield Pair(query, passage, binary_label(mark), f"trec-{qid}", f"trec-all-{number}")
            except ValueError:
                bad.report(path, number, "qid<TAB>question<TAB>sentence<TAB>0 or 1", line)
        return
    path = locate(folder / "brmson_csv", f"{split}.csv")
    for number, row in csv_rows(path, ("qtext", "label", "atext"), bad):
        try:
            label = binary_label(row[1])
        except ValueError:
            bad.report(path, number, "question,0 or 1,sentence", row)
            continue
        yield Pair(row[0], row[2], label, f"trec-{row[0]}", f"trec-{split}-{number}")


def squad_reqa(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    """SQuAD as ReqA: question and the sentence that holds its answer. Every pair is positive."""
    data = read_json(locate(folder, f"{split}.json"))
    if "answers" in data:
        rows = zip(data["questions"], data["answers"], data["question_ids"], strict=True)
        for query, passage, number in rows:
            yield Pair(query, passage, 1.0, f"reqa-{number}", passage)
        return
    candidates = data["candidates"]
    for number, (query, truths) in enumerate(
        zip(data["questions"], data["ground_truths"], strict=True)
    ):
        for truth in truths:
            yield Pair(query, candidates[truth], 1.0, f"reqa-{split}-{number}", candidates[truth])


def squad_reqa_candidates(folder: Path, split: str) -> Iterator[str]:
    """The candidate sentences of a ReqA split."""
    data = read_json(locate(folder, f"{split}.json"))
    yield from data["candidates" if "candidates" in data else "answers"]


def squad_json(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    """SQuAD's official JSON (1.1 or 2.0): question and paragraph; unanswerable ones are 0."""
    path = locate(folder, f"{split}.json")
    for article in read_json(path)["data"]:
        for paragraph in article["paragraphs"]:
            for row in paragraph["qas"]:
                label = 0.0 if row.get("is_impossible") else 1.0
                context = paragraph["context"]
                yield Pair(row["question"], context, label, f"squad-{row['id']}", context)


def squad_nqg(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    """Lower-cased SQuAD sentence and question, two files in step. Every pair is positive."""
    sentences = list(lines(locate(folder, f"src-{split}.txt")))
    questions = list(lines(locate(folder, f"tgt-{split}.txt")))
    if len(sentences) != len(questions):
        raise DataError(
            f"{folder}: src-{split} has {len(sentences)} lines and tgt-{split} {len(questions)}: "
            "they must be in step"
        )
    for (number, passage), (_, query) in zip(sentences, questions, strict=True):
        text = passage.strip().replace("-lrb-", "(").replace("-rrb-", ")")
        text = text.replace("``", '"').replace("''", '"')
        yield Pair(query.strip(), text, 1.0, f"nqg-{split}-{number}", text)


def qed(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    """QED over Natural Questions: question and paragraph. Every pair is positive."""
    if split == "dev":
        paths = [locate(folder, "qed-dev.jsonlines")]
    else:
        paths = sorted(folder.glob(f"nq-{split}-*-qed.jsonlines*"))
        if not paths:
            raise DataError(f"{folder}: no file nq-{split}-*-qed.jsonlines")
    for path in paths:
        expected = "an object with example_id, question_text, paragraph_text, title_text"
        for _, row in parse(path, expected, bad, json.loads):
            passage = str(row["paragraph_text"]).replace("``", '"').replace("''", '"')
            yield Pair(row["question_text"], passage, 1.0, f"qed-{row['example_id']}", passage)


def selqa(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    """SelQA answer sentence selection: `question<TAB>sentence<TAB>0 or 1`."""
    path = locate(folder, f"selqa-ass-{split}.tsv")
    expected = "question<TAB>sentence<TAB>0 or 1"
    for number, row in parse(path, expected, bad, lambda s: _third(s, binary_label)):
        yield Pair(*row, f"selqa-{row[0]}", f"selqa-{split}-{number}")


def medquad(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    """MedQuAD: consumer health question and its (long) answer. Every pair is positive."""
    path = locate(folder, "medquad_qa.tsv")
    for number, line in lines(path):
        fields = line.split("\t")
        if number == 1 and fields[0] == "qid":
            continue
        if len(fields) != 6 or not fields[4] or not fields[5]:
            bad.report(path, number, "qid, qtype, collection, focus, question, answer", line)
            continue
        yield Pair(fields[4], fields[5], 1.0, f"medquad-{fields[0]}", f"medquad-{fields[0]}")


def questions(path: Path, bad: BadRows) -> Iterator[str]:
    """A plain list of questions in any of its usual forms, recognised line by line.

    `{"question": …}` a line, `id<TAB>question`, `question<TAB>['answer', …]`, or a question alone.
    """
    for _, text in parse(path, "a question", bad, _question):
        yield text


def _question(line: str) -> str:
    if line.startswith("{"):
        text = json.loads(line)["question"]
    else:
        fields = line.split("\t")
        text = fields[0]
        if len(fields) > 1 and not _is_answer_list(fields[1]):
            text = fields[1]
    if not str(text).strip():
        raise ValueError(line)
    return str(text).strip()


def _is_answer_list(text: str) -> bool:
    if not text.startswith("["):
        return False
    try:
        return isinstance(ast.literal_eval(text), list)
    except (ValueError, SyntaxError):
        return True
