"""Meta-KD: distilling a meta-teacher into one domain's student (Pan et al., ACL 2021, phase B).

For pair i with label y_i and the meta-teacher's probability p_i that the passage answers,

    lambda_i = (1 + t_i) / (1 + exp((p_i - y_i)^2))          expertise, from 0.27 to 1
    L_tkd,i  = MSE(W z_S,i, z_T,i)                        transferable knowledge (`corruption.py`)
    B1       = mean_i lambda_i (L_hidn,i + L_attn,i + gamma2 L_tkd,i)     stage with `match: states`
    B2       = mean_i CE(z_T,i / T, z_S,i / T)                            stage with `match: scores`

t_i is the prototype score (`prototypes.py`), L_hidn and L_attn are TinyBERT's (`layer_maps.py`), W
one map from the student's width to the teacher's, which starts as the identity where they are
equal. B1 leaves the student's head alone. B2 has neither weights nor labels, unless its stage's
alpha is below 1, and sums over classes where the official code averages (twice its loss).

Each lambda multiplies its own pair's losses: in the ported code it multiplies their mean over the
batch, so that it weighs nothing. The teacher's states are too many to keep (a pair's are a thousand
times its score): the teacher runs in every step of B1, in evaluation mode and without gradient. Its
scores come from the store like any other's.

`tinybert` is the same without weights and without L_tkd, from any cross-encoder.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from retort.training.methods.headed import Options
from retort.training.methods.layer_maps import Trace, attention_losses, hidden_losses, trace
from retort.training.methods.method import Examples, Material, Method, MethodError
from retort.training.methods.soft_cross_entropy import soft_cross_entropy
from retort.training.nn.backbone import load_backbone
from retort.training.nn.checkpoint import load_student
from retort.training.nn.losses import hard_labels, pointwise
from retort.training.nn.student import Student
from retort.training.nn.tokens import TokenBatch
from retort.training.recipes.recipe import DistillRecipe, Stage, TeacherRef
from retort.training.teachers.corruption import Corruption
from retort.training.teachers.meta_teacher import MetaKnowledge, load_knowledge
from retort.training.teachers.prototypes import content, embed


class TinyBertOptions(Options):
    """`attention: false` leaves L_attn out, for unequal numbers of attention heads."""

    attention: bool = True
    temperature: float = Field(1.0, gt=0)


class MetaOptions(TinyBertOptions):
    """`weighted: false` sets every lambda to 1."""

    gamma2: float = Field(0.5, ge=0)
    weighted: bool = True


class Mapped(NamedTuple):
    """A student's states on the teacher's terms.

    M + 1 `hidden` (batch, sequence, width), M attention `scores` (batch, heads, sequence, sequence)
    and `z` for each domain, (batch, domains, width).
    """

    hidden: tuple[Tensor, ...]
    scores: tuple[Tensor, ...]
    z: Tensor | None


class StateStudent(nn.Module):
    """A student with the maps that stage B1 trains beside it and that nobody needs afterwards."""

    def __init__(
        self, student: Student, width: int, domains: int, attention: bool, seed: int
    ) -> None:
        super().__init__()
        own = student.config.hidden_size
        # Drawn from the seed alone: a run that goes on must start this stage as it was started.
        generator = torch.Generator().manual_seed(seed)
        self.student = student
        self.attention = attention
        self.fit = nn.Linear(own, width)
        nn.init.zeros_(self.fit.bias)
        if own == width:
            nn.init.eye_(self.fit.weight)
        else:
            nn.init.normal_(self.fit.weight, std=own**-0.5, generator=generator)
        self.corruption = Corruption(domains, own, generator) if domains else None

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Mapped:
        """Inputs of shape (batch, sequence)."""
        seen = trace(self.student.encoder, input_ids, attention_mask, token_type_ids)
        layers = range(1, len(seen.keys) + 1) if self.attention else ()
        z = None
        if self.corruption is not None:
            # All domains at once: what a module is called with does not say the pair's own.
            z = self.fit(self.corruption.everywhere(content(seen.hidden[-1], attention_mask)))
        return Mapped(
            tuple(self.fit(states) for states in seen.hidden),
            tuple(seen.attention(layer) for layer in layers),
            z,
        )


@dataclass(frozen=True)
class States:
    """What stage B1 knows: the frozen teacher, each pair's domain and prototype score (pairs,)."""

    teacher: Student
    corruption: Corruption | None
    domains: Tensor
    scores: Tensor
    seed: int

    @torch.no_grad()
    def ask(self, batch: TokenBatch) -> Trace:
        """What the teacher goes through on a batch."""
        encoder = self.teacher.to(batch.input_ids.device).encoder
        return trace(encoder, batch.input_ids, batch.attention_mask, batch.token_type_ids)

    @torch.no_grad()
    def knowledge(self, seen: Trace, batch: TokenBatch, domains: Tensor) -> Tensor:
        """The teacher's z (batch, width)."""
        assert self.corruption is not None
        z: Tensor = self.corruption.to(domains.device)(
            content(seen.hidden[-1], batch.attention_mask), domains
        )
        return z


def sample_weights(scores: Tensor, odds: Tensor, labels: Tensor) -> Tensor:
    """lambda (batch,) of prototype scores, teacher log-odds and labels, (batch,) each."""
    return (1 + scores) / (1 + torch.exp((torch.sigmoid(odds) - labels).pow(2)))


@dataclass(frozen=True)
class MetaKd(Method):
    """Stages B1 and B2; `states` is there in a prepared stage B1 alone."""

    options: MetaOptions = field(default_factory=MetaOptions)
    states: States | None = None

    @property
    def by_domain(self) -> bool:
        """Whether the teacher must be a meta-teacher that knows the pairs' domains."""
        return self.options.weighted or self.options.gamma2 > 0

    def asked(self, stage: Stage) -> tuple[TeacherRef, ...]:
        """A stage that matches states without weights reads no scores."""
        silent = stage.match == "states" and not self.options.weighted
        return () if silent else self.teachers

    def module(self, student: Student) -> nn.Module:
        """The student alone in B2; with its maps in B1."""
        if self.states is None:
            return super().module(student)
        teacher, corruption = self.states.teacher, self.states.corruption
        domains = corruption.embedding.num_embeddings if corruption is not None else 0
        width = teacher.config.hidden_size
        return StateStudent(student, width, domains, self.options.attention, self.states.seed)

    def prepare(self, material: Material) -> Self:
        """In B1 load the teacher and score the pairs against its prototypes.

        Raises `MethodError`, or `DomainError` for a domain that the meta-teacher never met.
        """
        if material.stage.match == "scores":
            return replace(self, states=None)
        _check(self, material)
        folder = Path(self.teachers[0].path)
        teacher = load_student(folder).student.eval().requires_grad_(False)
        count = len(material.pairs)
        domains, scores = torch.zeros(count, dtype=torch.long), torch.zeros(count)
        corruption = None
        if self.by_domain:
            known = load_knowledge(folder)
            domains = known.prototypes.numbers(material.sources)
            if self.options.gamma2 > 0:
                corruption = known.corruption
            if self.options.weighted:
                scores = _prototype_scores(known, material)
        return replace(self, states=States(teacher, corruption, domains, scores, material.seed))

    def loss(self, outputs: Any, batch: TokenBatch, examples: Examples, stage: Stage) -> Tensor:
        """B1 or B2."""
        if self.states is not None:
            losses = self.state_losses(self.states, outputs, batch, examples)
            if self.options.weighted:
                scores = self.states.scores[examples.rows.cpu()].to(losses.device)
                losses = sample_weights(scores, examples.odds[:, 0], examples.labels) * losses
            return losses.mean()
        logits = outputs[0][:, 0].float()
        soft = soft_cross_entropy(logits, examples.odds[:, 0], self.options.temperature).mean()
        if stage.alpha == 1.0:
            return soft
        golden = pointwise(logits, examples.labels, examples.groups)
        return (1 - stage.alpha) * golden + stage.alpha * soft

    def state_losses(
        self, states: States, outputs: Mapped, batch: TokenBatch, examples: Examples
    ) -> Tensor:
        """L_hidn + L_attn + gamma2 L_tkd of each pair, (batch,)."""
        seen = states.ask(batch)
        losses = hidden_losses(outputs.hidden, seen, batch.attention_mask)
        if outputs.scores:
            losses = losses + attention_losses(outputs.scores, seen, batch.attention_mask)
        if outputs.z is not None:
            domains = states.domains[examples.rows.cpu()].to(losses.device)
            own = outputs.z[torch.arange(len(domains), device=losses.device), domains].float()
            target = states.knowledge(seen, batch, domains).float()
            losses = losses + self.options.gamma2 * (own - target).pow(2).mean(-1)
        return losses


def _check(method: MetaKd, material: Material) -> None:
    teacher, stage = method.teachers[0], material.stage
    if stage.hidden:
        raise MethodError(
            f"a stage has match: states and hidden: {stage.hidden}; all hidden states are matched "
            "there anyway: leave hidden out"
        )
    mine = load_student(Path(teacher.path)).tokenizer_path.read_bytes()
    if mine != material.tokenizer_path.read_bytes():
        raise MethodError(
            f"{teacher.name} has another tokenizer than the student ({material.tokenizer_path}): "
            "states are matched token by token; cut both from one backbone"
        )
    if not method.options.weighted:
        return
    unlabelled = sum(pair.label is None for pair in material.pairs)
    if unlabelled:
        raise MethodError(
            f"{unlabelled} of {len(material.pairs)} pairs have no label, which lambda needs; give "
            "this stage labelled sources, or set options.weighted=false"
        )
    unscored = {*material.sources} - {*(teacher.sources or material.sources)}
    if unscored:
        raise MethodError(
            f"{teacher.name} does not score {', '.join(sorted(unscored))}, and lambda needs its "
            "probability; add them to the teacher's sources, or set options.weighted=false"
        )


def _prototype_scores(known: MetaKnowledge, material: Material) -> Tensor:
    embeddings = embed(load_backbone(known.backbone).encoder, material.tokens)
    labels = hard_labels(material.pairs)
    return known.prototypes.scores(embeddings, material.sources, labels)


def build(recipe: DistillRecipe) -> MetaKd:
    """Meta-KD. Raises `MethodError` unless there is one cross-encoder for a teacher."""
    return _build(recipe, MetaOptions.model_validate(recipe.options))


def build_tinybert(recipe: DistillRecipe) -> MetaKd:
    """TinyBERT: no domains. Raises `MethodError` as `build` does."""
    plain = TinyBertOptions.model_validate(recipe.options)
    return _build(recipe, MetaOptions(gamma2=0.0, weighted=False, **plain.model_dump()))


def _build(recipe: DistillRecipe, options: MetaOptions) -> MetaKd:
    found = ", ".join(f"{teacher.name} ({teacher.kind})" for teacher in recipe.teachers) or "none"
    if len(recipe.teachers) != 1 or recipe.teachers[0].kind != "cross-encoder":
        raise MethodError(
            f"{recipe.method} learns from one cross-encoder of ours, found {found}; name one that "
            "`retort teach` made"
        )
    if recipe.student.kind != "encoder" and any(s.match == "states" for s in recipe.stages):
        raise MethodError(
            f"{recipe.method}: a {recipe.student.kind} has no layers to match; set "
            "student.kind=encoder, or leave out the stage that has match: states"
        )
    return MetaKd(tuple(recipe.teachers), options=options)
