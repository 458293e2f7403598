"""Labelling a recipe: every teacher scores, once, all pairs that the recipe's stages will read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from retort.training.data.pairs import Pair
from retort.training.data.selection import select
from retort.training.labels.label import label
from retort.training.labels.store import ScoreStore
from retort.training.labels.targets import scored_by
from retort.training.recipes.recipe import DistillRecipe
from retort.training.teachers.scorers import load_teacher


def label_recipe(
    recipe: DistillRecipe, only: Sequence[str], log: Callable[[str], None] = print
) -> dict[str, int]:
    """Score what lacks a score; `only` names teachers, none for all. Scores kept, by teacher."""
    stages = [(select(stage), stage.hidden > 0) for stage in recipe.stages]
    counts = {}
    for item in recipe.teachers:
        if only and item.name not in only:
            continue
        asked, store = load_teacher(item), ScoreStore(recipe.store)
        every: list[Pair] = []
        matched: list[Pair] = []
        for chosen, hidden in stages:
            known = scored_by(item, chosen.sources)
            own = [pair for pair, hit in zip(chosen.pairs, known, strict=True) if hit]
            every += own
            matched += own if hidden else []
        if item.hidden and matched:
            label(asked, matched, store, log, hidden=True)
        counts[item.name] = len(label(asked, every, store, log))
    return counts
