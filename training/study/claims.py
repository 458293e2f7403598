"""Claims: what each paper says about two methods, and what this study found.

A claim is that one row is above another. It is outside the noise if the 95% interval of the
difference lies above zero, and holds among N claims if the interval of confidence 1 - 0.05 / N does
(Bonferroni): out of twenty differences that are really zero, one is outside its 95% interval by
chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from retort.markdown import signed
from retort.training.evaluate.bootstrap import Estimate
from retort.training.study.figures import Scope, StudyFigures

TMKD = "TMKD"
SKD = "SKDBERT"


@dataclass(frozen=True, slots=True)
class Claim:
    """`row` is above `other`, says `paper`; both are names of rows or of methods."""

    paper: str
    row: str
    other: str
    words: str


# fmt: off
CLAIMS = (
    Claim(TMKD, "tmkd", "1-o-1", "two stages and many teachers beat one teacher"),
    Claim(TMKD, "tmkd", "1avg-o-1", "two stages and one head per teacher beat the average teacher"),
    Claim(TMKD, "tmkd", "m-o-m", "early calibration beats late"),
    Claim(TMKD, "tmkd", "mkd", "stage 1 helps a student with one head per teacher"),
    Claim(TMKD, "tkd", "1-o-1", "stage 1 helps a student with one teacher"),
    Claim(TMKD, "mkd", "1avg-o-1", "one head per teacher beats the average teacher"),
    Claim(TMKD, "tmkd", "tkd", "after stage 1, many teachers beat one"),
    Claim(TMKD, "1avg-o-1", "1-o-1", "the average teacher beats the best"),
    Claim("MT-DNN-KD", "mt-dnn-kd", "mt-dnn", "tasks learned together gain from teachers"),
    Claim("Meta-KD", "meta-kd", "1-o-1", "one teacher of all domains beats one per domain"),
    Claim("Meta-KD", "meta-kd", "1avg-o-1", "meta-distillation beats the average teacher"),
    Claim(SKD, "skd", "1-o-1", "one teacher drawn at every step beats one teacher"),
    Claim(SKD, "skd", "1avg-o-1", "one teacher drawn at every step beats their average"),
    Claim(SKD, "skd", "mt-bert", "one teacher drawn at every step beats weighted teachers"),
    Claim(SKD, "skd-student-rank", "skd-uniform", "drawing by what students learn beats chance"),
    Claim(SKD, "skd-teacher-rank", "skd-uniform", "drawing by the teachers' rank beats chance"),
    Claim("MT-BERT", "mt-bert", "mkd", "giving wrong teachers less weight helps"),
    Claim("MT-BERT", "mt-bert", "1avg-o-1", "giving wrong teachers less weight helps"),
    Claim("BAM!", "annealing", "1avg-o-1", "moving from teachers to labels helps"),
    Claim("Margin-MSE", "margin-mse", "1avg-o-1", "margins teach more than scores"),
    Claim("RocketQAv2", "listwise-kl", "1avg-o-1", "lists teach more than scores"),
    Claim("Rank-DistiLLM", "ranknet", "1avg-o-1", "order alone is enough"),
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Verdict:
    """A claim compared with the figures. `among` is the interval that allows for all claims."""

    claim: Claim
    difference: Estimate
    among: Estimate
    seeds: tuple[int, int]

    @property
    def outside(self) -> bool:
        """Whether the difference is outside the noise, in either direction."""
        return self.difference.excludes_zero

    @property
    def word(self) -> str:
        """`outside the noise`, `inside the noise` or `the other way round, outside the noise`."""
        if not self.outside:
            return "inside the noise"
        if self.difference.value < 0:
            return "the other way round, outside the noise"
        return "outside the noise"

    def sentence(self, title: Callable[[str], str] = str) -> str:
        """As in `tmkd` above `mkd` by +0.0120 [+0.0010, +0.0231]: outside the noise."""
        side = "below" if self.difference.value < 0 else "above"
        size = self.difference if side == "above" else _flipped(self.difference)
        text = (
            f"`{title(self.claim.row)}` {side} `{title(self.claim.other)}` by "
            f"{signed(size, bounds=True)}: {'out' if self.outside else 'in'}side the noise"
        )
        if self.outside and not self.among.excludes_zero:
            text += " on its own, inside it among all claims"
        if min(self.seeds) < 2:
            text += " (one seed: without the noise of seeds)"
        return text


def _flipped(estimate: Estimate) -> Estimate:
    return Estimate(-estimate.value, -estimate.high, -estimate.low)


def judge(figures: StudyFigures, scope: Scope) -> list[Verdict]:
    """Every claim with both sides in `scope`, and each row compared with its baseline."""
    claims = _present(figures, scope)
    error = (1 - scope.samples.confidence) / max(1, len(claims))
    strict = replace(scope.samples, confidence=1 - error)
    return [
        Verdict(
            claim,
            scope.difference(claim.row, claim.other),
            strict.difference(claim.row, claim.other),
            (len(scope.seeds.get(claim.row, ())), len(scope.seeds.get(claim.other, ()))),
        )
        for claim in claims
    ]


def _present(figures: StudyFigures, scope: Scope) -> list[Claim]:
    found: dict[tuple[str, str], Claim] = {}
    plans = {row.name: row for row in figures.plan.rows}
    for row, baseline in scope.baselines.items():
        if scope.has(row) and scope.has(baseline):
            claim = Claim(plans[row].paper, row, baseline, "teachers teach more than labels alone")
            found[row, baseline] = claim
    for claim in CLAIMS:
        for row in _named(figures, scope, claim.row):
            for other in _named(figures, scope, claim.other):
                same = plans[row].student == plans[other].student
                if row != other and same:
                    found.setdefault((row, other), replace(claim, row=row, other=other))
    return list(found.values())


def _named(figures: StudyFigures, scope: Scope, name: str) -> Sequence[str]:
    """The rows of this name; where there is none, those of this method."""
    if name in scope.rows:
        return (name,)
    return [row.name for row in figures.plan.rows if row.method == name and row.name in scope.rows]
