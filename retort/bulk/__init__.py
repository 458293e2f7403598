"""Bulk scoring: files of pairs, from thousands to more than fit into memory (`retort rank`).

A source (TSV, JSON lines, Parquet) gives rows in blocks. A scorer scores the pairs of a block, in
this process or over HTTP, and each block's scores are kept in a part of their own beside the
output. When every block has its part, ranks are made and the output is written in one pass. So a
run that was killed goes on, blocks may be scored on many machines, and what comes out depends on
the input and the bundle alone.

For a runner of your own: `retort.bulk.scoring.LocalScorer` scores lists of pairs,
`retort.bulk.opening.open_source` reads, `retort.bulk.parts.Parts` keeps, and
`retort.bulk.ranks.ranked` with a source's `write` finishes. Importing this package imports none of
them.
"""
