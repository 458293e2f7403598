"""The registry: every method by name, with its paper and one line on what it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from retort.training.methods import (
    adr_mse,
    annealing,
    infonce,
    listwise_kl,
    m_o_m,
    margin_mse,
    meta_kd,
    mt_bert,
    mt_dnn_kd,
    one,
    ranknet,
    skd,
    tmkd,
)
from retort.training.methods.method import Method
from retort.training.recipes.recipe import DistillRecipe


@dataclass(frozen=True, slots=True)
class Entry:
    """A method: what to call it, whose it is, what it does, and how a recipe makes one."""

    name: str
    paper: str
    line: str
    build: Callable[[DistillRecipe], Method]


_TMKD = "Yang et al. 2020 (TMKD)"

_ENTRIES = (
    Entry("none", "-", "labels alone: the undistilled student", tmkd.build_none),
    Entry("tmkd", _TMKD, "a golden head and a soft head a teacher, after stage 1", tmkd.build_tmkd),
    Entry("mkd", _TMKD, "TMKD without stage 1 (m-o-1)", tmkd.build_mkd),
    Entry("tkd", _TMKD, "stage 1 and stage 2 with one teacher", one.build_tkd),
    Entry("1-o-1", _TMKD, "one teacher, no stage 1", one.build_one),
    Entry("1avg-o-1", _TMKD, "the average of the teachers as one teacher", one.build_average),
    Entry("m-o-m", _TMKD, "a student a teacher, averaged at inference", m_o_m.build),
    Entry("skd", "Ding et al. 2023 (SKDBERT)", "one teacher a step, drawn at random", skd.build),
    Entry(
        "mt-dnn-kd",
        "Liu et al. 2019 (MT-DNN-KD)",
        "several tasks: a head a task, the mean of each task's teachers",
        mt_dnn_kd.build,
    ),
    Entry(
        "meta-kd",
        "Pan et al. 2021 (Meta-KD)",
        "states and scores of a teacher of many domains",
        meta_kd.build,
    ),
    Entry(
        "tinybert",
        "Jiao et al. 2020 (TinyBERT)",
        "states and scores of one teacher, layer by layer",
        meta_kd.build_tinybert,
    ),
    Entry(
        "mt-bert",
        "Wu et al. 2021 (MT-BERT)",
        "wrong teachers weigh less, pair by pair",
        mt_bert.build,
    ),
    Entry(
        "annealing", "Clark et al. 2019 (BAM!)", "from the teachers to the labels", annealing.build
    ),
    Entry("margin-mse", "Hofstätter et al. 2020", "how far right is above wrong", margin_mse.build),
    Entry(
        "listwise-kl",
        "Ren et al. 2021 (RocketQAv2)",
        "the teachers' softmax over the passages of a query",
        listwise_kl.build,
    ),
    Entry(
        "ranknet",
        "Burges et al. 2005; Rank-DistiLLM 2024",
        "the teachers' order alone",
        ranknet.build,
    ),
    Entry("adr-mse", "Rank-DistiLLM 2024", "the teachers' ranks, most at the top", adr_mse.build),
    Entry(
        "infonce",
        "Gao et al. 2021",
        "labels: the right passage among all of a query",
        infonce.build,
    ),
)

METHODS: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}


def build_method(recipe: DistillRecipe) -> Method:
    """The method of a recipe. Raises `MethodError`, or a `ValueError` for a wrong option."""
    return METHODS[recipe.method].build(recipe)
