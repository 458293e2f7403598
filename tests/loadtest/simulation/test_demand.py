"""Demand: token counts of real pairs, dealt out and drawn."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest

from retort.loadtest.simulation.demand import Demand, read_demand
from retort.models.encoding import PairEncoder


def test_a_file_has_a_request_for_each_query(encoder: PairEncoder, tmp_path: Path) -> None:
    file = tmp_path / "pairs.tsv"
    file.write_text("able\tabout\nable\tabout above\nabove air\tage\n", encoding="utf-8")
    # One word is one token, and three tokens of each pair are special.
    assert read_demand(encoder, file, passages=1) == Demand(((5, 6), (6,)))


def test_the_extract_gives_requests_of_many_sizes(encoder: PairEncoder) -> None:
    demand = read_demand(encoder, None, passages=40)
    assert demand.most == 40
    assert {len(lengths) for lengths in demand.requests} == {40}
    chance = Random(0)
    sizes = Counter(len(demand.draw(chance)) for _ in range(5_000))
    assert (min(sizes), max(sizes)) == (1, 40)
    few, more = (sum(sizes[n] for n in range(*ends)) for ends in ((2, 5), (10, 25)))
    # log(5 / 2) and log(25 / 10) of log(41) are the same share.
    assert few == pytest.approx(more, rel=0.15)
    assert few / 5_000 == pytest.approx(0.247, rel=0.1)


def test_a_drawn_request_has_the_first_pairs() -> None:
    demand = Demand(((1, 2, 3, 4),), most=4)
    assert {demand.draw(Random(seed)) for seed in range(50)} == {
        (1,),
        (1, 2),
        (1, 2, 3),
        (1, 2, 3, 4),
    }


def test_requests_of_a_set_size_repeat_their_pairs() -> None:
    assert Demand(((1, 2, 3), (7,)), most=3).of_pairs(5) == Demand(((1, 2, 3, 1, 2), (7,) * 5))


def test_a_part_of_the_order_is_dealt_out() -> None:
    demand = Demand(((8, 1, 6, 3), (2, 7, 4, 5)))
    assert demand.between(0.0, 0.5, 2) == Demand(((1, 3), (2, 4)))
    assert demand.between(0.75, 1.0, 3) == Demand(((7, 8, 7),))
    assert Demand(((9,),)).between(0.95, 1.0, 2) == Demand(((9, 9),))


@pytest.mark.parametrize("requests", [(), ((),), ((1,), ())])
def test_nothing_to_ask_is_refused(requests: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match="at least one pair"):
        Demand(requests)
