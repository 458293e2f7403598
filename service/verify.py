"""Verifying a bundle, and scoring with one, without a server."""

from __future__ import annotations

from dataclasses import dataclass

from retort.models.bundle import read_bundle
from retort.models.find import find_bundle
from retort.models.runtime.base import BackendInfo, BackendUnavailable
from retort.models.runtime.choose import CANDIDATES, choose, load_compared
from retort.models.runtime.direct import infer_pairs
from retort.models.runtime.golden import GoldenReport
from retort.models.scores import combine
from retort.service.errors import InferenceFailed, InvalidRequest
from retort.service.settings import Settings


@dataclass(frozen=True, slots=True)
class BackendVerdict:
    """What one backend said: a report, or why it did not run."""

    backend: str
    report: GoldenReport | None
    problem: str = ""

    def describe(self) -> str:
        """One line."""
        if self.report is None:
            return f"  {self.backend}: not run ({self.problem})"
        report = self.report
        return (
            f"  {self.backend}: {'ok' if report.passed else 'WRONG'}, largest difference "
            f"{report.max_difference:.5f} of {report.tolerance:.5f} allowed, "
            f"{report.swapped} pairs out of order"
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is so about a bundle whose files and hashes are right."""

    folder: str
    name: str
    version: str
    golden_pairs: int
    backends: list[BackendVerdict]
    passed: bool

    def describe(self) -> str:
        """A few lines."""
        lines = [
            f"{self.folder}: {self.name} {self.version}",
            "  files and hashes: ok",
            f"  golden pairs: {self.golden_pairs}",
            *(verdict.describe() for verdict in self.backends),
        ]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class ScoredPassage:
    """A passage's place on the command line, its score and spread."""

    index: int
    score: float
    spread: float


def verify_bundle(settings: Settings) -> Verdict:
    """Check files, hashes and golden scores. Raises `BundleError` for the first two."""
    bundle = read_bundle(find_bundle(settings.bundle))
    encoder = bundle.encoder()
    wish = settings.wish
    verdicts = []
    passed: list[BackendInfo] = []
    failed: list[BackendInfo] = []
    for info in CANDIDATES:
        if not wish.allows(info):
            continue
        try:
            _, report = load_compared(info, bundle, encoder, wish, settings.cache_dir)
        except BackendUnavailable as problem:
            verdicts.append(BackendVerdict(str(info), None, str(problem)))
            continue
        verdicts.append(BackendVerdict(str(info), report))
        (passed if report.passed else failed).append(info)
    # Less precise arithmetic may be too coarse for a sound bundle; the server then passes it over.
    sound = all(info.precision != "fp32" and wish.precision == "auto" for info in failed)
    manifest = bundle.manifest
    return Verdict(
        folder=str(bundle.folder),
        name=manifest.name,
        version=manifest.version,
        golden_pairs=len(bundle.golden),
        backends=verdicts,
        passed=bool(passed) and sound,
    )


def score_directly(settings: Settings, query: str, passages: list[str]) -> list[ScoredPassage]:
    """Score passages, best first, ties by index.

    Raises `InvalidRequest` for an empty query or no passages, `InferenceFailed` for a score that
    is not a finite number, `BundleError` or `StartError` if there is nothing to score with.
    """
    if not query.strip():
        raise InvalidRequest("the query is empty")
    if not passages:
        raise InvalidRequest("there are no passages")
    bundle = read_bundle(find_bundle(settings.bundle))
    encoder = bundle.encoder()
    backend = choose(bundle, encoder, settings.wish, settings.cache_dir).backend
    scores = combine(infer_pairs(backend, encoder, encoder.encode(query, passages)))
    if not scores.finite.all():
        raise InferenceFailed(f"passage {int(scores.finite.argmin())}: its score is not finite")
    results = [
        ScoredPassage(index, float(value), float(scores.spread[index]))
        for index, value in enumerate(scores.score)
    ]
    return sorted(results, key=lambda result: -result.score)
