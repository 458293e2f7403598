"""The ranking of a file or folder: from one input to one output, or a shard of that.

It goes on where an earlier run has ended.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from retort.bulk.opening import form_of, open_source
from retort.bulk.output import Added, Ranked
from retort.bulk.parts import Part, Parts, folder_of, left_over
from retort.bulk.progress import BulkProgress
from retort.bulk.ranks import ranked
from retort.bulk.scoring import Pair, Scorer
from retort.bulk.sources import Block, Source, files_of
from retort.bulk.survey import Facts, Survey, facts_of, survey
from retort.fields import OwnField
from retort.parallel.shards import Shard
from retort.rows import BadRows, DataError
from retort.wording import counted

# Path, size and time of change of each file.
Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class FileRanking:
    """What is ranked, where to, and how."""

    input: Path
    output: Path
    added: Added = field(default_factory=Added)
    columns: Mapping[OwnField, str] = field(default_factory=dict)
    skip_bad: bool = False

    def score(
        self,
        make_scorer: Callable[[], Scorer],
        shard: Shard,
        log: Callable[[str], None],
    ) -> None:
        """Score a shard; where that is everything, write the output too.

        What parts of an earlier run hold is not scored again. Raises `DataError` for a bad row or
        an output that is there already, `OtherBasis` if parts belong to something else.
        """
        if self._complete(log):
            return
        stamp = _stamp(self.input)
        source = open_source(self.input, self.columns, self.added)
        with closing(make_scorer()) as scorer:
            basis = {**source.identity, **scorer.identity}
            parts = Parts(folder_of(self.output), basis)
            own = shard.own(source.blocks)
            # Before anything is written, so that bad rows can be mended.
            found = self._survey(source, own)
            parts.begin()
            missing = [b for b in own if not parts.has(b, found.digests[b.number])]
            self._score(source, scorer, parts, found, missing)
        if shard.whole:
            self._finish(source, stamp, parts, found, log)
        else:
            log(
                f"shard {shard}: {counted(sum(found.pairs.values()), 'pair')} scored in "
                f"{parts.folder}; when all shards are there, --merge {shard.of} makes {self.output}"
            )

    def merge(self, shards: int, log: Callable[[str], None]) -> None:
        """Write the output from the parts of all shards.

        Raises `DataError` that names the shards of which parts are missing.
        """
        if self._complete(log):
            return
        stamp = _stamp(self.input)
        source = open_source(self.input, self.columns, self.added)
        folder = folder_of(self.output)
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder: shards are scored into it with --shard")
        parts = Parts(folder, source.identity)
        lacking = [
            shard
            for shard in (Shard(number, shards) for number in range(1, shards + 1))
            if any(parts.read(block) is None for block in shard.own(source.blocks))
        ]
        if lacking:
            names = ", ".join(map(str, lacking))
            raise DataError(
                f"{folder}: {counted(len(lacking), 'shard')} missing or incomplete: {names}. "
                "Run the same command with --shard for each of them"
            )
        found = self._survey(source, source.blocks)
        for block in source.blocks:
            parts.has(block, found.digests[block.number])
        self._finish(source, stamp, parts, found, log)

    def _complete(self, log: Callable[[str], None]) -> bool:
        if form_of(self.input) != form_of(self.output):
            raise DataError(
                f"{self.output}: the output has the format of the input, which is {self.input}: "
                "give it the same ending"
            )
        if self.input.is_dir() and self.output.resolve().is_relative_to(self.input.resolve()):
            raise DataError(
                f"{self.output}: it is within the input, {self.input}, and would be read as a part "
                "of it: give an --out outside"
            )
        complete = left_over(self.output)
        if complete:
            log(f"{self.output} is complete")
        return complete

    def _survey(self, source: Source, blocks: Sequence[Block]) -> Survey:
        self.output.parent.mkdir(parents=True, exist_ok=True)
        bad = BadRows(skip=self.skip_bad, offered=True)
        with BulkProgress("reading", "blocks", len(blocks)) as progress:
            found = survey(
                source,
                blocks,
                bad,
                grouped=self.added.ranked,
                folder=self.output.parent,
                advance=progress.advance,
            )
        if len(blocks) == len(source.blocks) and not any(found.pairs.values()):
            raise DataError(f"{self.input}: there is no pair in it")
        return found

    def _score(
        self, source: Source, scorer: Scorer, parts: Parts, found: Survey, missing: Sequence[Block]
    ) -> None:
        total = sum(found.pairs.values())
        done = total - sum(found.pairs[block.number] for block in missing)
        stream = scorer.stream(_works(source, missing, found), lambda work: work.pairs)
        with BulkProgress("scoring", "pairs", total, done) as progress, closing(stream):
            for work, scores in stream:
                parts.write(
                    work.block, Part(work.facts, scores.score, scores.spread, scores.problems)
                )
                progress.advance(work.facts.count)

    def _finish(
        self,
        source: Source,
        stamp: Stamp,
        parts: Parts,
        found: Survey,
        log: Callable[[str], None],
    ) -> None:
        if not self.skip_bad:
            self._refuse_unscored(source, parts)
        # A name of its own: the same command may run twice at once.
        own = f"output-{os.uname().nodename}-{os.getpid()}"
        draft = parts.folder / f"{own}{''.join(self.output.suffixes[-2:])}"
        if draft.is_dir():
            shutil.rmtree(draft)
        tally = _Tally()
        held = (_there(parts, block) for block in source.blocks)
        source.write(draft, tally.over(ranked(held, self.added.top_n)))
        if _stamp(self.input) != stamp:
            raise DataError(
                f"{self.input}: it was changed while it was ranked: rank a file that stays as it is"
            )
        parts.finish(draft, self.output)
        skipped = found.bad_rows + tally.without
        log(
            f"{self.output}: {counted(tally.kept, 'pair')} of {tally.pairs} written"
            + f", {counted(skipped, 'bad row')} skipped" * bool(skipped)
        )

    def _refuse_unscored(self, source: Source, parts: Parts) -> None:
        """Raise `DataError` for the first row that has no score. All parts stay."""
        for block in source.blocks:
            part = _there(parts, block)
            lost = np.flatnonzero(np.isnan(part.score))
            if len(lost):
                row = int(np.searchsorted(np.cumsum(part.facts.pairs), lost[0], side="right"))
                place = source.place(block, row)
                problem = part.problems.get(int(lost[0]), "it has no score")
                bad = BadRows(offered=True)
                bad.refuse(place.path, place.number, problem, place.unit)


@dataclass(frozen=True, slots=True)
class _Work:
    """A block with its facts and its pairs."""

    block: Block
    facts: Facts
    pairs: Sequence[Pair]


@dataclass(slots=True)
class _Tally:
    """What was ranked: all pairs, those that are written, and those without a score."""

    pairs: int = 0
    kept: int = 0
    without: int = 0

    def over(self, results: Iterable[Ranked]) -> Iterator[Ranked]:
        """The same results, counted."""
        for found in results:
            self.pairs += len(found.score)
            self.kept += int(found.kept.sum())
            self.without += int(np.isnan(found.score).sum())
            yield found


def _stamp(path: Path) -> Stamp:
    """By what a change of a file, or of a folder's files, is noticed."""
    return tuple(
        (str(file), stat.st_size, stat.st_mtime_ns)
        for file in files_of(path)
        if (stat := file.stat() if file.is_file() else None)
    )


def _works(source: Source, blocks: Sequence[Block], found: Survey) -> Iterator[_Work]:
    """The blocks with their pairs; what is bad in them was told by the survey."""
    for block, rows in source.read(blocks, BadRows(skip=True)):
        facts = facts_of(block, rows)
        if facts.digest != found.digests[block.number]:
            raise DataError(
                f"{source.place(block, 0)}: the input is being changed: rank a file that stays as "
                "it is"
            )
        pairs = [(row.query, passage) for row in rows if row for passage in row.passages]
        yield _Work(block, facts, pairs)


def _there(parts: Parts, block: Block) -> Part:
    part = parts.read(block)
    if part is None:
        raise DataError(
            f"{parts.path(block)}: it was there and cannot be read any more: run the same command "
            "again"
        )
    return part
