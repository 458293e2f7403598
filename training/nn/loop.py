"""The loop: one way of training for every teacher and every method.

`accelerate` brings mixed precision, several processes and whole-state checkpoints. Which rows meet
in which step follows from seed and epoch alone, so a run that was killed goes on from its last
checkpoint and ends where an uninterrupted run ends, bit for bit on one machine, and several
processes take the steps of one (`processes.py`).
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from tqdm.auto import tqdm

from retort.training.nn.batch_size import BatchSize
from retort.training.nn.batching import Rows, TokenBatch, TokenTable, epoch_batches, pack
from retort.training.nn.precision import chosen
from retort.training.nn.processes import Shared, add_gradients, processes
from retort.training.recipes.parts.common import Optimiser


@dataclass(frozen=True, slots=True)
class Progress:
    """Where training stands: `step` of `steps`, and the seed of what a step draws."""

    step: int
    steps: int
    seed: int

    @property
    def share(self) -> float:
        """0 at the first step, 1 at the last."""
        return self.step / max(1, self.steps - 1)


Objective = Callable[[nn.Module, TokenBatch, Progress], Tensor]

# Where a run's checkpoint is; the second name is that of one that was being swapped in.
CHECKPOINTS = ("checkpoint", "checkpoint.tmp")
PROGRESS_FILE = "progress.json"  # written last: a checkpoint that has it is whole
CURVE_STEPS = 50  # between two points of a learning curve
WATCHED_STEPS = 3  # a rate that is far too high shows at once
# The word embeddings of an encoder, by the ends of the names that architectures give them.
_WORDS = (
    "embeddings.word_embeddings.weight", "embeddings.tok_embeddings.weight", "wte.weight",
    "embed_tokens.weight",
)  # fmt: skip


def set_dropout(model: nn.Module, probability: float) -> None:
    """Set every dropout of the model."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability


def plan_batches(
    units: Sequence[Rows],
    lengths: Rows,
    plan: Optimiser,
    seed: int,
    divisions: Rows | None = None,
) -> list[Rows]:
    """The batches of all epochs in order; a fraction of an epoch is a prefix of it."""
    batches: list[Rows] = []
    size = BatchSize(plan.batch_pairs, plan.batch_tokens)
    packed = pack(units, lengths, divisions)
    for epoch in range(math.ceil(plan.epochs)):
        whole = epoch_batches(packed, size, seed, epoch)
        share = min(1.0, plan.epochs - epoch)
        batches += whole[: max(1, round(len(whole) * share))]
    return batches


def fit(
    model: nn.Module,
    table: TokenTable,
    units: Sequence[Rows],
    objective: Objective,
    plan: Optimiser,
    *,
    folder: Path,
    seed: int,
    checkpoint_steps: int,
    title: str,
    divisions: Rows | None = None,
) -> list[tuple[int, float]]:
    """Train in place; returns the learning curve as (step, mean loss since the last point).

    `objective` takes the model, a batch and the progress and gives a scalar loss. A batch never
    mixes rows of different `divisions` (rows,). Checkpoints go to
    `folder/checkpoint` and are found there again. Raises `ValueError` if the loss is not finite.
    """
    # cuDNN's attention makes a plan for every shape it meets, and the shapes here are many.
    torch.backends.cuda.enable_cudnn_sdp(enabled=False)
    # A process of its own drops other activations.
    torch.manual_seed(seed + 1_000_003 * processes().process_index)
    # The library keeps a process's first precision; the stages of a student may differ in theirs.
    AcceleratorState._reset_state()
    accelerator = Accelerator(
        mixed_precision=chosen(plan.precision),
        cpu=not torch.cuda.is_available(),
        step_scheduler_with_optimizer=False,
    )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not (plan.freeze_words and name.endswith(_WORDS)))
    batches = plan_batches(units, table.lengths, plan, seed, divisions)
    steps = len(batches)
    optimiser = torch.optim.AdamW(_groups(model, plan), lr=plan.lr, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: linear_schedule(step, steps, plan.warmup)
    )
    run = torch.compile(model, dynamic=True) if plan.compile else model
    several = accelerator.num_processes > 1
    # "Evaluation" leaves out the library's own wrapper for several processes, and nothing else.
    prepared = accelerator.prepare_model(run, evaluation_mode=True)
    optimiser, schedule = accelerator.prepare(optimiser, schedule)
    wrapped = Shared(prepared) if several else prepared
    state = _resume(accelerator, folder)
    table.to(accelerator.device)
    total = torch.tensor(state.total, device=accelerator.device)
    wrapped.train()
    bar = tqdm(
        range(state.step, steps), initial=state.step, total=steps, desc=title, mininterval=10,
        disable=not accelerator.is_main_process,
    )  # fmt: skip
    for step in bar:
        batch = table.gather(batches[step])
        with accelerator.autocast():
            loss = objective(wrapped, batch, Progress(step, steps, seed))
        accelerator.backward(loss)
        if several:
            add_gradients(wrapped.parameters())
        accelerator.clip_grad_norm_(wrapped.parameters(), plan.clip)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        state.step = step + 1
        # Read from the device now and then alone: to read it is to wait for the step.
        total += loss.detach()
        state.count += 1
        if state.count == CURVE_STEPS or state.step <= WATCHED_STEPS or state.step == steps:
            state.total = float(total)
            if not math.isfinite(state.total):
                raise ValueError(f"{title}, step {step}: the loss is {state.total}; lower the lr")
        if state.count == CURVE_STEPS or state.step == steps:
            mean = state.total / state.count
            state.curve.append((state.step, mean))
            bar.set_postfix(loss=f"{mean:.4f}")
            total.zero_()
            state.total, state.count = 0.0, 0
        if state.step % checkpoint_steps == 0 and state.step < steps:
            state.total = float(total)
            _save(accelerator, folder, state)
    if accelerator.is_main_process:
        shutil.rmtree(folder / CHECKPOINTS[0], ignore_errors=True)
    return state.curve


def linear_schedule(step: int, steps: int, warmup: float) -> float:
    """Factor on the learning rate: up from zero over `warmup` of the steps, then down to zero."""
    rising = max(1, round(steps * warmup))
    if step < rising:
        return (step + 1) / rising
    return max(0.0, (steps - step) / max(1, steps - rising))


def _groups(model: nn.Module, plan: Optimiser) -> list[dict[str, object]]:
    """Weight decay for matrices alone; biases and norms go without, as is usual for BERT."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": plan.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


@dataclass(slots=True)
class _State:
    """The next step, the learning curve, and the losses since its last point: sum and number."""

    step: int = 0
    curve: list[tuple[int, float]] = field(default_factory=list)
    total: float = 0.0
    count: int = 0


def _save(accelerator: Accelerator, folder: Path, state: _State) -> None:
    """Write next to the old checkpoint and swap, so that a kill at any time leaves a whole one."""
    target, fresh = (folder / name for name in CHECKPOINTS)
    if accelerator.is_main_process:
        shutil.rmtree(fresh, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(fresh))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        (fresh / PROGRESS_FILE).write_text(json.dumps(asdict(state)))
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)


def _resume(accelerator: Accelerator, folder: Path) -> _State:
    for name in CHECKPOINTS:
        progress = folder / name / PROGRESS_FILE
        if progress.is_file():
            accelerator.load_state(str(folder / name))
            state = _State(**json.loads(progress.read_text()))
            state.curve = [(step, loss) for step, loss in state.curve]  # lists, in JSON
            return state
    return _State()
