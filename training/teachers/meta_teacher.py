"""The meta-teacher: one teacher of all domains (Meta-KD, Pan et al., ACL 2021, phase A).

With t_i the prototype score of pair i (`prototypes.py`), L_D the corruption loss (`corruption.py`)
and L_CE the golden head's cross-entropy with the label,

    L_T = mean_i t_i (L_CE,i + gamma1 L_D,i)                         gamma1 = 0.5

A domain is a source of the pair table. The published script leaves the corruption loss out, as its
switch is off by default; here gamma1 alone decides. The golden head reads the last state of `[CLS]`
where the paper puts a pooler and a ReLU before it: the teacher is a checkpoint like any other.

Beside the checkpoint lies `domains.safetensors`: prototypes and corruption, which phase B needs.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from retort.models.encoding import PairEncoder, Truncation
from retort.training.data.selection import labelled_of
from retort.training.data.table import PairTable
from retort.training.nn.backbone import load_backbone
from retort.training.nn.batching import single_units
from retort.training.nn.checkpoint import CheckpointError, load_student, save_student
from retort.training.nn.loop import Progress, fit, set_dropout
from retort.training.nn.losses import hard_labels
from retort.training.nn.student import Student
from retort.training.nn.tokens import TokenBatch, TokenTable
from retort.training.recipes.recipe import TeacherRecipe
from retort.training.teachers.corruption import Corruption, DomainHead, shuffled
from retort.training.teachers.prototypes import Prototypes, content, embed, fit_prototypes
from retort.training.teachers.teach import teacher_meta, untaught

DOMAINS_FILE = "domains.safetensors"


class MetaOutputs(NamedTuple):
    """Logits (batch,) and domain logits (batch, domains)."""

    logits: Tensor
    domains: Tensor


class MetaTeacher(nn.Module):
    """A cross-encoder with a corruption head."""

    def __init__(self, student: Student, domains: int) -> None:
        super().__init__()
        width = student.config.hidden_size
        self.student = student
        self.corruption = Corruption(domains, width)
        self.domain_head = DomainHead(domains, width)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor, domains: Tensor
    ) -> MetaOutputs:
        """Inputs (batch, sequence) and domain numbers (batch,)."""
        logits, hidden = self.student.forward_hidden(input_ids, attention_mask, token_type_ids)
        z = self.corruption(content(hidden, attention_mask), domains)
        return MetaOutputs(logits[:, 0], self.domain_head(z))


def meta_loss(
    outputs: MetaOutputs,
    labels: Tensor,
    domains: Tensor,
    scores: Tensor,
    gamma1: float,
    progress: Progress,
) -> Tensor:
    """L_T; labels, domain numbers, which are shuffled here, and prototype scores are (batch,)."""
    wrong = shuffled(domains, progress)
    right = F.binary_cross_entropy_with_logits(outputs.logits.float(), labels, reduction="none")
    corrupt = F.cross_entropy(outputs.domains.float(), wrong, reduction="none")
    return (scores * (right + gamma1 * corrupt)).mean()


@dataclass(frozen=True, slots=True)
class MetaKnowledge:
    """What phase B needs besides the checkpoint; `backbone` is whose embeddings prototypes are."""

    prototypes: Prototypes
    corruption: Corruption
    backbone: str


def teach_meta(recipe: TeacherRecipe, table: PairTable) -> Path:
    """Train the meta-teacher of a recipe on the labelled pairs of `table`; returns its folder.

    Raises `ValueError` if there are none, `DomainError` unless they come from two sources or more.
    """
    chosen = labelled_of(table, recipe.table, recipe.sources)
    pairs, sources = chosen.pairs, chosen.sources
    torch.manual_seed(recipe.seed)
    backbone = load_backbone(recipe.backbone)
    truncation = Truncation(recipe.length.max_length, recipe.length.max_query_tokens)
    tokens = TokenTable(PairEncoder.from_file(backbone.tokenizer_path, truncation), pairs)
    labels = hard_labels(pairs)
    plan = recipe.meta
    embeddings = embed(backbone.encoder, tokens)
    prototypes = fit_prototypes(
        embeddings, sources, labels, by_class=plan.by_class, own=plan.own, others=plan.others
    )
    domains = prototypes.numbers(sources)
    scores = torch.ones_like(labels)
    if plan.weighted:
        # A pair unlike every prototype is not to be unlearned.
        scores = prototypes.scores(embeddings, sources, labels).clamp_min(0.0)
    student = untaught(recipe, backbone)
    model = MetaTeacher(student, len(prototypes.domains))
    set_dropout(model, recipe.dropout)

    def objective(module: nn.Module, batch: TokenBatch, progress: Progress) -> Tensor:
        rows, device = batch.rows.cpu(), batch.rows.device
        here = domains[rows].to(device)
        outputs = module(batch.input_ids, batch.attention_mask, batch.token_type_ids, here)
        return meta_loss(
            outputs, labels[rows].to(device), here, scores[rows].to(device), plan.corruption,
            progress,
        )  # fmt: skip

    curve = fit(
        model, tokens, single_units(len(pairs)), objective, recipe.optimiser,
        folder=recipe.out, seed=recipe.seed, checkpoint_steps=recipe.checkpoint_steps,
        title=recipe.name,
    )  # fmt: skip
    meta = teacher_meta(recipe, table, len(pairs), curve)
    meta["domains"] = list(prototypes.domains)
    # Both files are there before the folder has its name: half a meta-teacher is never found.
    whole = recipe.out.with_name(recipe.out.name + "-whole")
    save_student(whole, student.eval(), backbone.tokenizer_path, truncation, meta)
    save_file(
        {"prototypes": prototypes.vectors.contiguous(), **_state(model.corruption)},
        whole / DOMAINS_FILE,
    )
    shutil.rmtree(recipe.out, ignore_errors=True)
    whole.rename(recipe.out)
    return recipe.out


def load_knowledge(folder: Path) -> MetaKnowledge:
    """Raises `CheckpointError` for a folder that holds no meta-teacher."""
    path = folder / DOMAINS_FILE
    if not path.is_file():
        raise CheckpointError(
            f"{path}: missing; only a teacher taught with `objective: meta` has domains"
        )
    meta = load_student(folder).meta
    recipe = TeacherRecipe.model_validate(meta["recipe"])
    state = load_file(path)
    names, vectors = tuple(meta["domains"]), state.pop("prototypes")
    prototypes = Prototypes(names, vectors, recipe.meta.own, recipe.meta.others)
    corruption = Corruption(len(names), state["linear.weight"].shape[0])
    corruption.load_state_dict(state)
    return MetaKnowledge(prototypes, corruption.eval().requires_grad_(False), recipe.backbone)


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().cpu().contiguous().clone() for k, v in module.state_dict().items()}
