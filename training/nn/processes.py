"""Processes: one run on several GPUs or CPUs, started by `torchrun`, takes one process's steps.

Every process draws the same batch and puts its share of the rows through its copy of the model. The
outputs of all rows are then put together in each process, and each computes the loss of the whole
batch. A loss may so compare whatever it likes, a query's passages or a batch's, and no mean has to
be weighted. In a process only its own rows carry a gradient, hence

    d loss / d weights = sum over the processes of what flows back through their rows

which is what `DistributedDataParallel` would average instead. It also wants to know which weights a
step leaves out, and stages differ in that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor, distributed, nn

Log = Callable[[str], None]


def processes() -> PartialState:
    """This process among those of the run; the first call makes them know each other."""
    return PartialState(cpu=not torch.cuda.is_available())


def on_main(log: Log) -> Log:
    """The log of the main process; any other's says nothing."""
    return log if processes().is_main_process else _nothing


def _nothing(text: str) -> None:
    return None


def shares(rows: int, count: int) -> list[slice]:
    """Which rows of a batch each of `count` processes takes: sizes differ by one at most."""
    return [slice(rank * rows // count, (rank + 1) * rows // count) for rank in range(count)]


class Shared(nn.Module):
    """A model to which each process brings its share of the rows, and which gives all outputs.

    It takes tensors (batch, …) and gives what the model gives: a tensor (batch, …), or a tuple of
    such things.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> Any:
        """The outputs of all rows; only this process's own carry a gradient."""
        state, rows = processes(), len(inputs[0])
        parts = shares(rows, state.num_processes)
        own = parts[state.process_index]
        # Where rows are fewer than processes, one that is left over runs a row of another's, for
        # nothing: every process has to have the same gradients to add up.
        taken = own if own.stop > own.start else slice(0, 1)
        outputs = self.model(*(values[taken] for values in inputs))
        return _put_together(outputs, parts, state.process_index)


def add_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Add up the gradients of all processes, each kind of number in one go."""
    kinds: dict[torch.dtype, list[Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            kinds.setdefault(parameter.grad.dtype, []).append(parameter.grad)
    for gradients in kinds.values():
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        parts = flat.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def _put_together(value: Any, parts: list[slice], rank: int) -> Any:
    if value is None:
        return None
    if isinstance(value, tuple):
        items = [_put_together(item, parts, rank) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    sizes = [part.stop - part.start for part in parts]
    padded = value.new_zeros((max(sizes), *value.shape[1:]))
    padded[: len(value)] = value.detach()
    found = [torch.empty_like(padded) for _ in parts]
    distributed.all_gather(found, padded)
    pieces = [piece[:size] for piece, size in zip(found, sizes, strict=True)]
    if sizes[rank]:
        pieces[rank] = value
        return torch.cat(pieces)
    return torch.cat(pieces) + 0.0 * value.sum()
