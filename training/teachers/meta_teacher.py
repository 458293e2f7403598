"""The meta-teacher: one teacher of all domains (Meta-KD, Pan et al., ACL 2021, phase A).

A domain is a source of the pair table. A pair's embedding h_i is the mean of the last hidden states
of its tokens, `[CLS]` left out, under an encoder that nobody has fine-tuned. A domain's prototype
c_k is the mean of its pairs' embeddings. With d the domain of pair i, its prototype score is

    t_i = own cos(h_i, c_d) + others cos(h_i, mean_{k != d} c_k)

with own = others = 1/2 in the official code, which has one prototype per domain. The paper speaks
of one per domain and class: `by_class` has that, and c_k is then the prototype of the pair's own
class.

Domain corruption makes features from which the domain cannot be told. With content_i as h_i, but
under the encoder that is trained, and E_d its domain's embedding,

    z_i   = W_c (E_d + content_i)                        transferable knowledge
    L_D,i = CE(W_d dropout(tanh z_i), d')                d' = the batch's domains, shuffled

Learning wrong domains is what corrupts: there is no reversed gradient. With n domains a shuffle
leaves about one label in n right by chance, in the paper's code as here. With L_CE the golden
head's cross-entropy with the label, the teacher learns

    L_T = mean_i t_i (L_CE,i + gamma1 L_D,i)             gamma1 = 0.5

The published script leaves the corruption loss out, as its switch is off by default; here gamma1
alone decides. The golden head reads the last state of `[CLS]` where the paper puts a pooler and a
ReLU before it: the teacher is a checkpoint like any other. Padding is left out of every mean here.
The official code counts it in, so that there a pair's embedding depends on the length of its
neighbours.

The checkpoint's folder also has `domains.safetensors`: prototypes and corruption, for phase B.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertModel

from retort.training.data.pairs import RIGHT
from retort.training.nn.batching import TokenBatch, TokenTable
from retort.training.nn.loop import Objective, Progress
from retort.training.nn.student import CheckpointError, Student, load_student
from retort.training.recipes.teacher import MetaPlan, TeacherRecipe

DOMAINS_FILE = "domains.safetensors"
BATCH_PAIRS = 32


class DomainError(ValueError):
    """Pairs come from domains that do not make sense together, or that a teacher never met."""


def content(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """Mean of the states of all tokens but `[CLS]`: (batch, sequence, width) to (batch, width)."""
    mask = attention_mask[:, 1:, None].to(hidden.dtype)
    return (hidden[:, 1:] * mask).sum(1) / mask.sum(1)


@torch.no_grad()
def embed(encoder: BertModel, tokens: TokenTable) -> Tensor:
    """Embeddings (pairs, width) of a table's pairs, in float32."""
    encoder.eval()
    tokens.to(encoder.device)
    order = np.argsort(tokens.lengths, kind="stable")
    found = torch.empty(len(tokens), encoder.config.hidden_size)
    for start in range(0, len(order), BATCH_PAIRS):
        batch = tokens.gather(order[start : start + BATCH_PAIRS])
        hidden = encoder(*batch.inputs).last_hidden_state.float()
        found[batch.rows.cpu()] = content(hidden, batch.attention_mask).cpu()
    return found


@dataclass(frozen=True, slots=True)
class Prototypes:
    """The prototypes of all domains, (classes, domains, width), with one class or two."""

    domains: tuple[str, ...]
    vectors: Tensor
    own: float = 0.5
    others: float = 0.5

    def numbers(self, sources: Sequence[str]) -> Tensor:
        """Each pair's domain, (pairs,). Raises `DomainError` for one that has no prototype."""
        unknown = sorted(set(sources) - set(self.domains))
        if unknown:
            raise DomainError(
                f"no domain {', '.join(unknown)}: the meta-teacher learned "
                f"{', '.join(self.domains)}; name only these sources, or teach it the others too"
            )
        return torch.tensor([self.domains.index(source) for source in sources])

    def scores(self, embeddings: Tensor, sources: Sequence[str], labels: Tensor) -> Tensor:
        """t (pairs,) of embeddings (pairs, width) and labels (pairs,). Raises `DomainError`."""
        by_class = len(self.vectors) == 2
        classes = (labels >= RIGHT) & by_class
        vectors = self.vectors[classes.long()]
        mine = F.one_hot(self.numbers(sources), len(self.domains)).bool()
        rest = vectors.masked_fill(mine[..., None], 0.0).sum(1) / (len(self.domains) - 1)
        own = F.cosine_similarity(embeddings, vectors[mine], dim=-1)
        return self.own * own + self.others * F.cosine_similarity(embeddings, rest, dim=-1)


def fit_prototypes(
    embeddings: Tensor,
    sources: Sequence[str],
    labels: Tensor,
    *,
    by_class: bool = False,
    own: float = 0.5,
    others: float = 0.5,
) -> Prototypes:
    """Prototypes from embeddings (pairs, width) and labels (pairs,).

    Raises `DomainError` for fewer than two domains, or for a domain that lacks a class.
    """
    domains = tuple(dict.fromkeys(sources))
    if len(domains) < 2:
        raise DomainError(
            f"the only domain is {domains}: a meta-teacher needs the pairs of two sources or more"
        )
    positive = labels >= RIGHT
    chosen = [~positive, positive] if by_class else [torch.ones_like(positive)]
    rows = []
    for part in chosen:
        for domain in domains:
            here = part & torch.tensor([source == domain for source in sources])
            if not here.any():
                raise DomainError(f"{domain} has pairs of one class alone: set meta.by_class=false")
            rows.append(embeddings[here].mean(0))
    vectors = torch.stack(rows).view(len(chosen), len(domains), -1)
    return Prototypes(domains, vectors, own, others)


class Corruption(nn.Module):
    """Domain embeddings E and W_c, which give z."""

    def __init__(self, domains: int, width: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.embedding = nn.Embedding(domains, width)
        self.linear = nn.Linear(width, width)
        # As BERT starts its own. With a generator the weights follow from its seed alone.
        for weight in (self.embedding.weight, self.linear.weight):
            nn.init.normal_(weight, std=0.02, generator=generator)
        nn.init.zeros_(self.linear.bias)

    def forward(self, content: Tensor, domains: Tensor) -> Tensor:
        """z (batch, width) of contents (batch, width) and domain numbers (batch,)."""
        z: Tensor = self.linear(self.embedding(domains) + content)
        return z

    def everywhere(self, content: Tensor) -> Tensor:
        """z as if each pair came from each domain, (batch, domains, width)."""
        z: Tensor = self.linear(self.embedding.weight[None] + content[:, None])
        return z


class DomainHead(nn.Module):
    """W_d: from z to the domain."""

    def __init__(self, domains: int, width: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout()
        self.linear = nn.Linear(width, domains)

    def forward(self, z: Tensor) -> Tensor:
        """Domain logits (batch, domains) of z (batch, width)."""
        logits: Tensor = self.linear(self.dropout(torch.tanh(z)))
        return logits


def shuffled(domains: Tensor, progress: Progress) -> Tensor:
    """The batch's domains (batch,) in another order, which follows from seed and step alone."""
    generator = torch.Generator().manual_seed(progress.seed * 1_000_003 + progress.step)
    return domains[torch.randperm(len(domains), generator=generator).to(domains.device)]


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


def meta_objective(
    plan: MetaPlan,
    student: Student,
    encoder: BertModel,
    tokens: TokenTable,
    sources: Sequence[str],
    labels: Tensor,
) -> tuple[MetaTeacher, Prototypes, Objective]:
    """What is trained around `student`, its prototypes under `encoder`, and the loss of a batch.

    `sources` and `labels` are (pairs,). Raises `DomainError` unless the pairs come from two sources
    or more.
    """
    embeddings = embed(encoder, tokens)
    prototypes = fit_prototypes(
        embeddings, sources, labels, by_class=plan.by_class, own=plan.own, others=plan.others
    )
    domains = prototypes.numbers(sources)
    scores = torch.ones_like(labels)
    if plan.weighted:
        # A pair unlike every prototype must not get a negative weight.
        scores = prototypes.scores(embeddings, sources, labels).clamp_min(0.0)

    def objective(module: nn.Module, batch: TokenBatch, progress: Progress) -> Tensor:
        rows, device = batch.rows.cpu(), batch.rows.device
        here = domains[rows].to(device)
        outputs = module(*batch.inputs, here)
        return meta_loss(
            outputs, labels[rows].to(device), here, scores[rows].to(device), plan.corruption,
            progress,
        )  # fmt: skip

    return MetaTeacher(student, len(prototypes.domains)), prototypes, objective


def save_knowledge(folder: Path, prototypes: Prototypes, corruption: Corruption) -> None:
    """Write what phase B needs into the checkpoint's `folder`."""
    state = {k: v.detach().cpu().contiguous().clone() for k, v in corruption.state_dict().items()}
    save_file({"prototypes": prototypes.vectors.contiguous(), **state}, folder / DOMAINS_FILE)


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
