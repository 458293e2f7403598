"""Figures: what a bundle's card says of an evaluation."""

from __future__ import annotations

from retort.models.manifest import Agreement, Figure
from retort.training.evaluate.evaluation import EvaluationReport


class FiguresError(ValueError):
    """A report has no figures of what is asked for."""


def quality_figures(report: EvaluationReport, system: str | None = None) -> dict[str, Figure]:
    """A system's headline figure on each set, the student's where none is named.

    The student's say how much of the teacher it retained. Raises `FiguresError` for a system that
    the report does not have.
    """
    name = system or report.roles.student
    figures: dict[str, Figure] = {}
    for item in report.sets:
        if name not in item.systems:
            raise FiguresError(
                f"no figures of {name} on {item.name}: there are {', '.join(item.systems)}"
            )
        of_pairs = item.kind == "classification"
        count = item.pairs if of_pairs else item.queries
        unit = "pairs" if of_pairs else "queries"
        estimate = item.systems[name].measures[item.headline]
        note = f"n counts {unit}"
        retained = item.comparisons[item.headline].retained
        if retained is not None and name == report.roles.student:
            note = f"{retained.value:.1%} of the teacher's; {note}"
        figures[f"{item.name} {item.headline}"] = Figure(
            value=estimate.value, low=estimate.low, high=estimate.high, n=count, note=note
        )
        error = item.systems[name].calibration_error
        if error is not None:
            figures[f"{item.name} calibration error"] = Figure(value=error, n=item.pairs)
    return figures


def agreement_of(
    report: EvaluationReport, system: str | None = None, teacher: str | None = None
) -> Agreement | None:
    """The student's top-1 agreement with `teacher`, the report's own where none is named.

    None for a bundle of a system other than the student, for a report without a teacher, and for
    one from before agreement was measured. Raises `FiguresError` where a named teacher has none.
    """
    if system is not None and system != report.roles.student:
        return None
    found = report.agreement.get(teacher or report.roles.teacher or "")
    if found is None and teacher is not None:
        known = ", ".join(report.agreement) or "none"
        raise FiguresError(
            f"no agreement with {teacher}: there is one with {known}; measure it with "
            "`retort evaluate`"
        )
    return found
