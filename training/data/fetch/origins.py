"""Where the data sets of the catalog come from, as their authors publish them.

A file is listed where its address and its licence are known, with its sha256 where what was read
for this project is known to be the same. A set that has no file here, or lacks some, is got by
hand, as `by_hand` says: its licence asks for consent or states nothing, or it is published in
another form than the one that is read.
"""

from __future__ import annotations

from dataclasses import dataclass

from retort.training.data.catalog import CATALOG, QUESTION_LISTS
from retort.training.data.readers.rows import DataError

LISTS = "questions"  # the name of the lists of questions, all of them together
LISTS_FOLDER = "question_lists"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file at `url`, or the `member` of a zip there, that is kept as `name` in a set's folder."""

    url: str
    name: str
    sha256: str = ""
    member: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """A set's page, "" where it has none; files that may be downloaded; how to get the others.

    `hub` is the NAME of a source `hub:NAME/SPLIT` that reads the set from the Hugging Face hub.
    """

    page: str
    files: tuple[RemoteFile, ...] = ()
    by_hand: str = ""
    hub: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A set of the catalog, or the lists of questions, with what is known of it."""

    name: str
    folder: str
    licence: str
    origin: Origin


def wanted(names: list[str]) -> list[Wanted]:
    """The sets of these names, all where there are none. Raises `DataError` for an unknown one."""
    known = {
        name: Wanted(name, item.folder, item.licence, ORIGINS[name])
        for name, item in CATALOG.items()
    }
    licences = ", ".join(sorted({item.licence for item in QUESTION_LISTS.values()}))
    known[LISTS] = Wanted(LISTS, LISTS_FOLDER, licences, ORIGINS[LISTS])
    unknown = [name for name in names if name not in known]
    if unknown:
        raise DataError(f"no data set {', '.join(unknown)}: there are {', '.join(sorted(known))}")
    return [known[name] for name in names or known]


def _github(
    repository: str, commit: str, folder: str, kept: str, digests: dict[str, str]
) -> tuple[RemoteFile, ...]:
    """Files of a repository's folder at a commit, by name their sha256; `kept` is the folder here.

    "a.txt b.tsv" is a file a.txt that is kept as b.tsv.
    """
    at = f"https://raw.githubusercontent.com/{repository}/{commit}/{folder}".rstrip("/")
    return tuple(
        RemoteFile(f"{at}/{names.split()[0]}", f"{kept}/{names.split()[-1]}".lstrip("/"), digest)
        for names, digest in digests.items()
    )


_SQUAD = "https://rajpurkar.github.io/SQuAD-explorer"
_GLUE = "https://gluebenchmark.com/tasks"
_GLUE_FILES = "https://dl.fbaipublicfiles.com/glue/data"

# fmt: off
ORIGINS: dict[str, Origin] = {
    "neuronblocks": Origin(
        "https://github.com/microsoft/NeuronBlocks",
        (
            *_github(
                "microsoft/NeuronBlocks", "cc270ea86a2a59aa95a35afd03c78e937b90bb56",
                "dataset/demo", "demo",
                {
                    "train.tsv":
                    "11cba2043fd18b8a68d4d2edb3ce9cbf26e7b9d936b26ef35198fb76eed5bbf1",
                    "valid.tsv":
                    "820707b014d6c22263a7385c06afc220715824c3affd9ed355d647c49dc69be5",
                    "test.tsv":
                    "aa90af33354816dff29626c5bf13776430dca25b1925c77f358b292ded641778",
                },
            ),
            *_github(
                "microsoft/NeuronBlocks", "cc270ea86a2a59aa95a35afd03c78e937b90bb56",
                "dataset/advanced_demo", "advanced_demo",
                {
                    "train.tsv":
                    "f7abfdf8c87bbf2197081a3085140a53138ab9520e66d970a807d6ebefa845e2",
                    "valid.tsv":
                    "41a49ed12d6160ed36497a42cc9968b5067a695954943f356db072218b2fe3ac",
                    "test.tsv":
                    "72e14b3cacf758f8fba6d1046e6cda0e7dacb5b97d05496b7b828a133274d174",
                },
            ),
            *_github(
                "microsoft/NeuronBlocks", "674526da6cab8638e8522cc77feabe4ccb348b78",
                "dataset/knowledge_distillation/query_binary_classifier", "query_binary_classifier",
                {
                    "train.tsv":
                    "2f1b5371c5daca1ab9de531da722216d363a7c7edd3afb1eae622a916ca8789f",
                    "valid.tsv":
                    "7e089ba3d5e4e82b89183eb9b1357f3024e3c5592cb7313aa1fb4dd0379f0b76",
                },
            ),
        ),
        "The splits train, valid and test are train_softlabel_10k.tsv, valid.tsv and test.tsv of "
        "its knowledge distillation for text matching: query, passage, and the score of "
        "BERT-large, or 0 or 1 in test.tsv, without a header. They are not in the repository, and "
        "where else they are is not known here.",
    ),
    "wikiqa": Origin(
        "https://www.microsoft.com/en-us/download/details.aspx?id=52419",
        by_hand="Accept the licence on the page, unpack, and put WikiQA-train.txt (or .tsv), "
        "WikiQA-dev.tsv and WikiQA-test.tsv there.",
        hub="wikiqa",
    ),
    "trecqa": Origin(
        "https://github.com/brmson/dataset-sts/tree/master/data/anssel/wang",
        by_hand="No licence is stated. Put train.csv, dev.csv and test.csv of that folder into "
        "brmson_csv/. train_all_pairs_1-2393.tsv (qid, question, sentence, 0 or 1) is only for the "
        "split train-all.",
    ),
    "squad-reqa": Origin(
        "https://github.com/google/retrieval-qa-eval",
        by_hand="Made of SQuAD 1.1 by that project's rules; where the files are is not known here. "
        "train.json holds the lists questions, answers and question_ids, in step; test.json the "
        "lists questions, candidates and ground_truths, the places of the right candidates. "
        "`retort data fetch squad` has the same questions with whole paragraphs.",
    ),
    "squad": Origin(
        _SQUAD,
        tuple(
            RemoteFile(f"{_SQUAD}/dataset/{name}", name)
            for name in ("train-v1.1.json", "train-v2.0.json", "dev-v1.1.json", "dev-v2.0.json")
        ),
        hub="squad",
    ),
    "squad-nqg": Origin(
        "https://github.com/xinyadu/nqg",
        (
            *_github(
                "xinyadu/nqg", "7f8bb00af7881bb8d8eaedc61e38e4114ff43ac6",
                "data/processed", "",
                {
                    "src-test.txt":
                    "5714e36b9f3ef884f4e109e876f4e507d61f58a1241b4fb0403866dfdeef315d",
                    "tgt-test.txt":
                    "e75710df557c2432925c8f2ca17e9b490235ce3c647c857fceaea6c401203a76",
                    "src-dev.txt":
                    "d540a569619c0bd68b46f9eb3d59351206bcdd1d15eeed8dc5a4fd4815a0d872",
                    "tgt-dev.txt":
                    "68e293bd31cd223ac95ed3090726c8b83041f99984961bbc4164250dac304782",
                },
            ),
        ),
    ),
    "qed": Origin(
        "https://github.com/google-research-datasets/QED",
        (
            *_github(
                "google-research-datasets/QED", "71e19e085640a2032c803a839d716f0a1b526bff",
                "", "",
                {
                    "nq-train-00-qed.jsonlines":
                    "92d88b54ff01a14ddeb7ad4f33581b3a2e087aa4d3ff0232181665abb372b843",
                    "nq-train-01-qed.jsonlines":
                    "170d6ef4b9b87c44e1dfdd6ab618b97aeb1df1eae01f203210aaa4b36ec7baaf",
                    "nq-train-02-qed.jsonlines":
                    "ee4f3da291accad9d3178a3199fb81925bdecf01c45597966ccafb6d3b08c658",
                    "nq-train-03-qed.jsonlines":
                    "f0734f94c1956461c5b3e921077a7591b3507155dc3ee3d443c9adc970f189d3",
                    "nq-train-04-qed.jsonlines":
                    "6615b5dbea9d0ffda94bc69aca1e8190fde4ccc9bd4e690f7c1cd372b5d5f6c3",
                    "nq-train-05-qed.jsonlines":
                    "e87752deb72b359cc67bfc3b104d774f254df76514d2d2b671b6f7ea15cd15e7",
                },
            ),
            *_github(
                "google-research-datasets/QED", "ec6951575cd21fa00a700654bfa2f1a7d2b644db",
                "", "",
                {
                    "qed-dev.jsonlines":
                    "2ea322b71a333023380c3954083b81af2d5670c8ac47ddec58c843233895c429",
                },
            ),
        ),
    ),
    "selqa": Origin(
        "https://github.com/emorynlp/selqa",
        (
            *_github(
                "emorynlp/selqa", "b36f5a42cf50b554a3577607ac16ff50b364de3e",
                "ass", "",
                {
                    "selqa-ass-dev.tsv":
                    "0f0d73b379bb4efc6e678e36b122ea17c957998a1d002e3c480b3bc7854f77a9",
                },
            ),
            *_github(
                "emorynlp/selqa", "d1ddfce49dc3c7fa5c474c7e82e3ad39370d973f",
                "ass", "",
                {
                    "selqa-ass-test.txt selqa-ass-test.tsv":
                    "4129ffa31237eb7f673baf6313bdd7d01658000c253b45e195d235493a435b91",
                },
            ),
        ),
    ),
    "medquad": Origin(
        "https://github.com/abachaa/MedQuAD",
        by_hand="Published as XML. Make medquad_qa.tsv of it, with the header qid, qtype, "
        "collection, focus, question, answer, and one line per question that has an answer.",
    ),
    "candidates": Origin(
        "",
        by_hand="Made by this project with teachers from sentence-transformers/all-mpnet-base-v2, "
        "and not published. `retort data build recipes/stage1.yaml` draws pairs of the same kind, "
        "and `retort label` scores them with your teachers.",
    ),
    "rte": Origin(
        _GLUE,
        by_hand=f"Its terms allow research only. Unpack {_GLUE_FILES}/RTE.zip and put train.tsv "
        "and dev.tsv there.",
        hub="rte",
    ),
    "qnli": Origin(
        _GLUE,
        tuple(
            RemoteFile(f"{_GLUE_FILES}/QNLIv2.zip", name, member=f"QNLI/{name}")
            for name in ("train.tsv", "dev.tsv")
        ),
        hub="qnli",
    ),
    "snli": Origin(
        "https://nlp.stanford.edu/projects/snli/",
        by_hand="Read as TSV with the columns premise, hypothesis and label (0 entailment, 1 "
        "neutral, 2 contradiction, -1 none), as the data set stanfordnlp/snli of the Hugging Face "
        "hub has them: write train.tsv, validation.tsv and test.tsv.",
    ),
    "mrpc": Origin(
        "https://www.microsoft.com/en-us/download/details.aspx?id=52398",
        by_hand="For non-commercial use. Accept the licence on the page, or take the configuration "
        "mrpc of the data set nyu-mll/glue of the Hugging Face hub, and write train.tsv, "
        "validation.tsv and test.tsv with the columns sentence1, sentence2 and label.",
    ),
    "sst2": Origin(
        _GLUE,
        by_hand=f"Its terms allow research only. Unpack {_GLUE_FILES}/SST-2.zip and put "
        "train.tsv and dev.tsv there.",
    ),
    "boolq": Origin(
        "https://github.com/google-research-datasets/boolean-questions",
        by_hand="Published as JSON lines. Write dev.tsv with the columns passage, question and "
        "label (1 for true).",
    ),
    "sick": Origin(
        "https://alt.qcri.org/semeval2014/task1/",
        by_hand="No licence is stated there. Put SICK_train.txt, SICK_trial.txt and "
        "SICK_test_annotated.txt of the task's data there.",
    ),
    "amazon": Origin(
        "https://www.cs.jhu.edu/~mdredze/datasets/sentiment/",
        by_hand="No licence is stated. For each of books, dvd, electronics and kitchen write a "
        "folder with review_positive and review_negative, one review a line.",
    ),
    LISTS: Origin(
        "https://github.com/castorini/anserini/tree/"
        "99a4f12261c0ad801557644aeb3765330135155b/src/main/resources/topics-and-qrels",
        by_hand="No licence is stated, and MS MARCO's are for non-commercial research. Put these "
        "files of that folder, or of a later one of the project, there: "
        + ", ".join(item.file for item in QUESTION_LISTS.values())
        + ".",
    ),
}
# fmt: on
ORIGINS["sick-related"] = ORIGINS["sick"]
