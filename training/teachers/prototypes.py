"""Prototypes: how typical a pair is of its own domain and of the others (Pan et al., ACL 2021).

A pair's embedding h_i is the mean of the last hidden states of its tokens, `[CLS]` left out, under
an encoder that nobody has fine-tuned. A domain's prototype c_k is the mean of its pairs'
embeddings. With d the domain of pair i, its prototype score is

    t_i = own cos(h_i, c_d) + others cos(h_i, mean_{k != d} c_k)

with own = others = 1/2 in the official code, which has one prototype a domain. The paper speaks of
one a domain and class: `by_class` has that, and c_k is then the prototype of the pair's own class.

Padding is left out of every mean here. The official code counts it in, so that there a pair's
embedding depends on the length of its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import BertModel

from retort.training.nn.losses import POSITIVE
from retort.training.nn.tokens import TokenTable

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
    order = np.argsort(tokens.lengths, kind="stable")
    found = torch.empty(len(tokens), encoder.config.hidden_size)
    for start in range(0, len(order), BATCH_PAIRS):
        batch = tokens.gather(order[start : start + BATCH_PAIRS]).to(encoder.device)
        hidden = encoder(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            token_type_ids=batch.token_type_ids,
        ).last_hidden_state.float()
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
        classes = (labels > POSITIVE) & by_class
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
    positive = labels > POSITIVE
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
