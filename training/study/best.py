"""The best teacher: the one that a recipe names, and what the sets that choose say of it."""

from __future__ import annotations

from statistics import fmean

from retort.training.recipes.parts.dataset import Dataset
from retort.training.recipes.study import TEACHERS, StudyRecipe
from retort.training.study.records import RUN_FILE, TeachersRecord, find_record


def misnamed(study: StudyRecipe, dataset: Dataset) -> str:
    """Which teacher is better than the one named in `best:`, by how much; "" where none is.

    Nothing is known before the teachers have been measured.
    """
    record = find_record(TeachersRecord, study.out / dataset.name / TEACHERS / RUN_FILE)
    if record is None:
        return ""
    headlines = {t.name: record.headlines(t.name, "choose") for t in dataset.teachers}
    found = {name: fmean(by_set.values()) for name, by_set in headlines.items() if by_set}
    if dataset.best not in found:
        return ""
    leader = max(found, key=lambda name: found[name])
    if found[leader] <= found[dataset.best]:
        return ""
    return (
        f"{dataset.name}: the recipe names {dataset.best} as the best teacher, but on the sets "
        f"that choose it has {found[dataset.best]:.4f} and {leader} has {found[leader]:.4f}"
    )
