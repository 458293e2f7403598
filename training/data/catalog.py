"""The catalog: every data set by name, with its licence, its splits and its relatives."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from retort.training.data.evaluation_set import read_sets
from retort.training.data.pairs import Pair
from retort.training.data.readers import official
from retort.training.data.readers import sentence_tasks as tasks
from retort.training.data.readers.hub import read_hub
from retort.training.data.readers.own import FORMS, SourcePairs, is_own, read_file
from retort.training.data.readers.rows import BadRows, DataError, locate
from retort.training.data.readers.scored import scored_pairs
from retort.training.recipes.corpus import FileLayout
from retort.training.recipes.files import INDEX_FILE, Place

PairReader = Callable[[Path, str, BadRows], Iterator[Pair]]

# Splits that hold the same text under different names. To train on one member of a family and
# measure on another member marked `held out` is a leak.
SQUAD_DEV = "squad dev"
SQUAD_TRAIN = "squad train"
NQ_DEV = "natural questions dev"


@dataclass(frozen=True, slots=True)
class Split:
    """`held_out` splits are for measuring; `family` names text that other splits share.

    A `part` is cut from another split so that no two parts of a data set share text.
    """

    name: str
    held_out: bool = False
    family: str | None = None
    part: bool = False


@dataclass(frozen=True, slots=True)
class CatalogSet:
    """One data set; `shippable` says whether a model trained on it may be given away."""

    name: str
    folder: str
    licence: str
    shippable: bool
    reader: PairReader
    splits: tuple[Split, ...]
    summary: str

    def split(self, name: str) -> Split:
        """Raises `DataError` for a split that there is not."""
        for split in self.splits:
            if split.name == name:
                return split
        known = ", ".join(split.name for split in self.splits)
        raise DataError(f"{self.name} has no split {name!r}: choose one of {known}")


_DATASETS = (
    CatalogSet(
        "neuronblocks", "neuronblocks_webqa", "MIT", True, official.neuronblocks,
        (Split("train"), Split("demo"), Split("valid"), Split("test", held_out=True)),
        "web queries and passages with BERT-large scores (train, valid) or labels (demo, test)",
    ),
    CatalogSet(
        "wikiqa", "wikiqa", "Microsoft Research Data License", False, official.wikiqa,
        (Split("train"), Split("dev"), Split("dev-answered"), Split("test", held_out=True),
         Split("test-answered", held_out=True)),
        "questions and Wikipedia sentences; research only",
    ),
    CatalogSet(
        "trecqa", "trecqa", "none stated", False, official.trecqa,
        (Split("train"), Split("train-all"), Split("dev"), Split("test", held_out=True)),
        "TREC questions and newswire sentences; research only",
    ),
    CatalogSet(
        "squad-reqa", "squad_reqa", "CC BY-SA 4.0", True, official.squad_reqa,
        (Split("train", family=SQUAD_TRAIN), Split("test", held_out=True, family=SQUAD_DEV)),
        "SQuAD 1.1 questions and the sentence that answers",
    ),
    CatalogSet(
        "squad", "squad", "CC BY-SA 4.0", True, official.squad_json,
        (Split("train-v1.1", family=SQUAD_TRAIN), Split("train-v2.0", family=SQUAD_TRAIN),
         Split("dev-v1.1", held_out=True, family=SQUAD_DEV),
         Split("dev-v2.0", held_out=True, family=SQUAD_DEV)),
        "SQuAD's official JSON: questions and paragraphs",
    ),
    CatalogSet(
        "squad-nqg", "squad_nqg", "CC BY-SA 4.0", True, official.squad_nqg,
        (Split("test", family=SQUAD_TRAIN), Split("dev", held_out=True, family=SQUAD_DEV)),
        "lower-cased SQuAD sentences and questions; `test` is cut from SQuAD train",
    ),
    CatalogSet(
        "qed", "qed_nq", "CC BY-SA 3.0", True, official.qed,
        (Split("train"), Split("dev", held_out=True, family=NQ_DEV)),
        "Natural Questions with paragraph and title",
    ),
    CatalogSet(
        "selqa", "selqa", "Apache-2.0", True, official.selqa,
        (Split("dev"), Split("test")),
        "questions and Wikipedia sentences, crowd-written",
    ),
    CatalogSet(
        "medquad", "medquad", "CC BY 4.0", True, official.medquad, (Split("all"),),
        "consumer health questions and long answers",
    ),
    CatalogSet(
        "candidates", "labels_mpnet", "as its sources: neuronblocks, squad, qed, selqa, medquad",
        True, scored_pairs, (Split("all"),),
        "117,500 questions with about 15 candidates each, scored by three teachers",
    ),
    CatalogSet(
        "rte", "glue/rte", "as GLUE states: research", False, tasks.rte,
        (Split("train", family="rte train"), Split("train-90", family="rte train", part=True),
         Split("train-10", family="rte train", part=True), Split("dev", held_out=True)),
        "GLUE RTE: does the premise entail the hypothesis",
    ),
    CatalogSet(
        "qnli", "glue/qnli", "CC BY-SA 4.0", True, tasks.qnli,
        (Split("train", family=SQUAD_TRAIN), Split("dev", held_out=True, family=SQUAD_DEV),
         Split("dev-60", family=SQUAD_DEV, part=True), Split("dev-10", family=SQUAD_DEV, part=True),
         Split("dev-30", held_out=True, family=SQUAD_DEV, part=True)),
        "GLUE QNLI: does the sentence answer the question; its dev is SQuAD's dev",
    ),
    CatalogSet(
        "snli", "glue/snli", "CC BY-SA 4.0", True, tasks.snli,
        (Split("train"), Split("dev", family="snli dev"),
         Split("dev-90", family="snli dev", part=True),
         Split("dev-10", family="snli dev", part=True), Split("test", held_out=True)),
        "SNLI in two classes: does the caption entail the sentence",
    ),
    CatalogSet(
        "mrpc", "glue/mrpc", "non-commercial", False, tasks.mrpc,
        (Split("train"), Split("dev"), Split("test", held_out=True)),
        "Microsoft's paraphrases: do two sentences say the same",
    ),
    CatalogSet(
        "sst2", "glue/sst2", "as GLUE states: research", False, tasks.sst2,
        (Split("train", family="sst2 train"), Split("train-90", family="sst2 train", part=True),
         Split("train-10", family="sst2 train", part=True), Split("dev", held_out=True)),
        "GLUE SST-2: phrases of film reviews, is one positive",
    ),
    CatalogSet(
        "boolq", "glue/boolq", "CC BY-SA 3.0", True, tasks.boolq, (Split("dev"),),
        "BoolQ's dev: does the paragraph answer yes",
    ),
    CatalogSet(
        "sick", "sick", "not stated", False, tasks.sick,
        (Split("train"), Split("trial"), Split("test", held_out=True)),
        "SICK: does a sentence entail another",
    ),
    CatalogSet(
        "sick-related", "sick", "not stated", False, tasks.sick_related,
        (Split("train"), Split("trial"), Split("test", held_out=True)),
        "SICK: how related two sentences are",
    ),
    CatalogSet(
        "amazon", "amazon_multidomain", "none stated", False, tasks.amazon,
        tuple(Split(f"{domain}-{part}", held_out=part == "test", part=True)
              for domain in tasks.AMAZON_DOMAINS for part in tasks.AMAZON_PARTS),
        "Amazon reviews of four domains (books, dvd, electronics, kitchen): is one positive",
    ),
)  # fmt: skip

CATALOG = {dataset.name: dataset for dataset in _DATASETS}


@dataclass(frozen=True, slots=True)
class QuestionList:
    """A list of questions without passages, for stage 1."""

    name: str
    file: str
    licence: str
    shippable: bool
    family: str | None = None


_LISTS = (
    QuestionList("fiqa", "topics.beir-v1.0.0-fiqa.test.tsv", "none stated", True),
    QuestionList("hotpotqa", "topics.beir-v1.0.0-hotpotqa.test.tsv", "none stated", True),
    QuestionList("nq-beir", "topics.beir-v1.0.0-nq.test.tsv", "none stated", True, NQ_DEV),
    QuestionList("quora", "topics.beir-v1.0.0-quora.test.tsv", "none stated", True),
    QuestionList("curated", "topics.dpr.curated.test.txt", "none stated", True),
    QuestionList("nq-dev", "topics.dpr.nq.dev.txt", "none stated", True),
    QuestionList("nq-test", "topics.dpr.nq.test.txt", "none stated", True, NQ_DEV),
    QuestionList("squad", "topics.dpr.squad.test.txt", "none stated", True, SQUAD_DEV),
    QuestionList("trivia-dev", "topics.dpr.trivia.dev.txt", "none stated", True),
    QuestionList("trivia-test", "topics.dpr.trivia.test.txt", "none stated", True),
    QuestionList("webquestions", "topics.dpr.wq.test.txt", "none stated", True),
    QuestionList("miracl-dev", "topics.miracl-v1.0-en-dev.tsv", "none stated", True),
    QuestionList("miracl-train", "topics.miracl-v1.0-en-train.tsv", "none stated", True),
    QuestionList("mrtydi", "topics.mrtydi-v1.1-en.train.txt", "none stated", True),
    QuestionList("msmarco-dev", "topics.msmarco-passage.dev-subset.txt", "MS MARCO", False),
    QuestionList("msmarco-v2-dev", "topics.msmarco-v2-passage.dev.txt", "MS MARCO", False),
)

QUESTION_LISTS = {item.name: item for item in _LISTS}
WEB_QUERIES = "web-queries"  # NeuronBlocks' queries, which are no file of their own
LIST_NAMES = (*QUESTION_LISTS, WEB_QUERIES)


def data_place(given: Path | None = None) -> Path:
    """Where data sets are kept: what was given, else RETORT_DATA. Raises `DataError`."""
    root = given or (Path(os.environ["RETORT_DATA"]) if os.environ.get("RETORT_DATA") else None)
    if root is None:
        raise DataError(
            "no data folder: pass --data FOLDER or set RETORT_DATA to the folder that holds the "
            "data sets (`retort data list` names them, `retort data fetch` gets them)"
        )
    return root


def data_root(given: Path | None = None) -> Path:
    """The folder of data sets, which is there. Raises `DataError`."""
    root = data_place(given)
    if not root.is_dir():
        raise DataError(
            f"{root}: no such folder; point --data or RETORT_DATA at the data sets, or get them "
            "with `retort data fetch`"
        )
    return root


def parse_source(source: str) -> tuple[CatalogSet, Split]:
    """`name/split` to the data set and split. Raises `DataError` with what there is."""
    name, _, split = source.partition("/")
    if name not in CATALOG:
        raise DataError(
            f"{source}: no file or folder, and no data set {name!r}: there are "
            f"{', '.join(sorted(CATALOG))}"
        )
    dataset = CATALOG[name]
    return dataset, dataset.split(split)


def read_pairs(root: Path, source: str, bad: BadRows | None = None) -> list[Pair]:
    """All pairs of `name/split`, for instance `read_pairs(root, "wikiqa/test")`."""
    dataset, split = parse_source(source)
    return list(dataset.reader(root / dataset.folder, split.name, bad or BadRows()))


def _check_list(name: str) -> None:
    if name not in LIST_NAMES:
        raise DataError(f"no list of questions {name!r}: there are {', '.join(sorted(LIST_NAMES))}")


def read_questions(root: Path | None, name: str, bad: BadRows | None = None) -> list[str]:
    """A list of questions by name, or a file of one's own by its path.

    Raises `DataError`.
    """
    bad = bad or BadRows()
    if Path(name).suffix:
        return list(official.questions(locate(Path(name).parent, Path(name).name), bad))
    root = root or data_root()
    if name == WEB_QUERIES:
        folder = root / CATALOG["neuronblocks"].folder
        return [
            q
            for split in ("train", "valid")
            for q in official.neuronblocks_queries(folder, split, bad)
        ]
    _check_list(name)
    path = locate(root / "question_lists", QUESTION_LISTS[name].file)
    return list(official.questions(path, bad))


def read_any(
    source: str, root: Path | None, bad: BadRows, layout: FileLayout | None = None
) -> SourcePairs:
    """`name/split` of the catalog, `hub:name/split`, or a file of one's own by its path.

    `root` None asks RETORT_DATA where the catalog is needed; `layout` is a file's. Raises
    `DataError`.
    """
    if source.startswith("hub:"):
        return SourcePairs(read_hub(source.removeprefix("hub:")))
    if is_own(source):
        return read_file(Path(source), bad, layout)
    if Path(source).suffix and Path(source).is_file():
        raise DataError(f"{source}: a file of your own ends in {', '.join(FORMS)}, perhaps .gz")
    return SourcePairs(read_pairs(root or data_root(), source, bad))


def read_held_out(source: str, read: Callable[[str], Sequence[Pair]]) -> Sequence[Pair]:
    """What is measured on: a source, which `read` reads, or all of a folder of evaluation sets.

    Raises `DataError`, and `EvaluationSetError` for a folder that cannot be read.
    """
    if is_sets(source):
        return [pair for item in read_sets(Path(source)) for pair in item.pairs]
    if Path(source).is_dir():
        raise DataError(
            f"{source}: a folder without {INDEX_FILE}: give one that `retort data divide` or "
            "`retort data sets` wrote, or a file"
        )
    return read(source)


def is_sets(source: str) -> bool:
    """Whether a source is a folder of evaluation sets."""
    return (Path(source) / INDEX_FILE).is_file()


def source_mistake(place: Place) -> str | None:
    """What is wrong with the catalog's name that a field of a recipe gives; None if nothing is."""
    wanted = ("source", "measured", "questions")
    if place.own or place.what not in wanted or is_own(place.path):
        return None
    try:
        if place.what == "questions":
            _check_list(place.path)
        else:
            parse_source(place.path)
    except DataError as error:
        return f"{place.field}: {error}"
    return None
