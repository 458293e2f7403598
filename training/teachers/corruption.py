"""Domain corruption: features from which the domain cannot be told (Pan et al., ACL 2021).

With content_i the mean of the last hidden states of a pair's tokens and E_d its domain's embedding,

    z_i   = W_c (E_d + content_i)                        transferable knowledge
    L_D,i = CE(W_d dropout(tanh z_i), d')                d' = the batch's domains, shuffled

Learning wrong domains is what corrupts: there is no reversed gradient. A shuffle leaves about one
label in as many as there are domains right by chance, in the paper's code as here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from retort.training.nn.loop import Progress


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
