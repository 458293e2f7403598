"""The measurement of a GPU, part by part; `loadtest/gpu.sh` runs each in a process of its own.

    python -m retort.loadtest.experiments.gpu machine --out DIR
    … probe fp16-graphs --out DIR      does it run, does it score right
    … bare --out DIR                   forward passes in turn
    … http fp16-graphs --out DIR       servers with few and many front ends, in turn
    … http null --out DIR              the same over a graph that answers at once
    … report --out DIR                 gpu.md, gpu.json, record.json from the parts that are there

A part leaves DIR/parts/NAME.json, `bare` and `http` after every round: if one is stopped later,
only the rest is lost.
"""
