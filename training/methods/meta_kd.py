"""Meta-KD: distilling a meta-teacher into one domain's student (Pan et al., ACL 2021, phase B).

For pair i with label y_i and the meta-teacher's probability p_i that the passage answers,

    lambda_i = (1 + t_i) / (1 + exp((p_i - y_i)^2))          expertise, from 0.27 to 1
    L_tkd,i  = MSE(W z_S,i, z_T,i)                        transferable knowledge (`meta_teacher.py`)
    B1       = mean_i lambda_i (L_hidn,i + L_attn,i + gamma2 L_tkd,i)     stage with `match: states`
    B2       = mean_i CE(z_T,i / T, z_S,i / T)                            stage with `match: scores`

t_i and z are the meta-teacher's; L_hidn, L_attn, W and B2 are TinyBERT's (`tinybert.py`), which has
neither weights nor L_tkd.

Each lambda multiplies its own pair's losses: in the ported code it multiplies their mean over the
batch, so that it weighs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from retort.training.methods.method import Examples, Material, MethodError
from retort.training.methods.tinybert import (
    Mapped,
    States,
    StateStudent,
    TinyBert,
    Trace,
    layer_losses,
    trace,
)
from retort.training.nn.backbone import load_backbone
from retort.training.nn.batching import TokenBatch
from retort.training.nn.losses import hard_labels
from retort.training.nn.student import Student
from retort.training.recipes.methods import MetaOptions
from retort.training.recipes.parts.stage import Stage
from retort.training.recipes.parts.teacher import TeacherRef
from retort.training.teachers.meta_teacher import (
    Corruption,
    content,
    embed,
    load_knowledge,
)


class DomainStudent(StateStudent):
    """A student with its map and a corruption of its own, for L_tkd."""

    def __init__(
        self,
        student: Student,
        width: int,
        domains: int,
        attention: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__(student, width, attention, generator)
        self.corruption = Corruption(domains, student.config.hidden_size, generator)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Mapped:
        """Inputs of shape (batch, sequence)."""
        seen = trace(self.student.encoder, input_ids, attention_mask, token_type_ids)
        # All domains at once: the module's input does not carry the pair's domain.
        z = self.fit(self.corruption.everywhere(content(seen.hidden[-1], attention_mask)))
        return self.mapped(seen)._replace(z=z)


@dataclass(frozen=True)
class MetaStates(States):
    """As `States`, with each pair's domain and prototype score (pairs,)."""

    corruption: Corruption | None
    domains: Tensor
    scores: Tensor

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
class MetaKd(TinyBert):
    """Stages B1 and B2; `states` is set in a prepared stage B1 alone."""

    options: MetaOptions = field(default_factory=MetaOptions)
    states: MetaStates | None = None

    def asked(self, stage: Stage) -> tuple[TeacherRef, ...]:
        """The weights need the teacher's scores in B1 too."""
        return self.teachers if self.options.weighted else super().asked(stage)

    def module(self, student: Student) -> nn.Module:
        """The student with its maps in B1, alone in B2."""
        if self.states is None or self.states.corruption is None:
            return super().module(student)
        generator = torch.Generator().manual_seed(self.states.seed)
        domains = self.states.corruption.embedding.num_embeddings
        width = self.states.teacher.config.hidden_size
        return DomainStudent(student, width, domains, self.options.attention, generator)

    def prepare(self, material: Material) -> Self:
        """In B1 load the teacher and score the pairs against its prototypes.

        Raises `MethodError`, or `DomainError` for a domain that the meta-teacher never met.
        """
        if material.stage.match == "scores":
            return replace(self, states=None)
        teacher = self._teacher(material)
        if self.options.weighted:
            _check_weighted(self.teachers[0], material)
        count = len(material.pairs)
        domains, scores = torch.zeros(count, dtype=torch.long), torch.zeros(count)
        corruption = None
        # Without weights and L_tkd any cross-encoder will do.
        if self.options.weighted or self.options.gamma2 > 0:
            known = load_knowledge(Path(self.teachers[0].path))
            domains = known.prototypes.numbers(material.sources)
            if self.options.gamma2 > 0:
                corruption = known.corruption
            if self.options.weighted:
                embeddings = embed(load_backbone(known.backbone).encoder, material.tokens)
                labels = hard_labels(material.pairs)
                scores = known.prototypes.scores(embeddings, material.sources, labels)
        return replace(self, states=MetaStates(teacher, material.seed, corruption, domains, scores))

    def loss(self, outputs: Any, batch: TokenBatch, examples: Examples, stage: Stage) -> Tensor:
        """B1 or B2."""
        if self.states is None or not self.options.weighted:
            return super().loss(outputs, batch, examples, stage)
        losses = self.state_losses(self.states, outputs, batch, examples)
        scores = self.states.scores[examples.rows.cpu()].to(losses.device)
        return (sample_weights(scores, examples.odds[:, 0], examples.labels) * losses).mean()

    def state_losses(
        self, states: States, outputs: Mapped, batch: TokenBatch, examples: Examples
    ) -> Tensor:
        """L_hidn + L_attn + gamma2 L_tkd of each pair, (batch,)."""
        assert isinstance(states, MetaStates)
        seen = states.ask(batch)
        losses = layer_losses(outputs, seen, batch.attention_mask)
        if outputs.z is None:
            return losses
        domains = states.domains[examples.rows.cpu()].to(losses.device)
        own = outputs.z[torch.arange(len(domains), device=losses.device), domains].float()
        target = states.knowledge(seen, batch, domains).float()
        return losses + self.options.gamma2 * (own - target).pow(2).mean(-1)


def _check_weighted(teacher: TeacherRef, material: Material) -> None:
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
