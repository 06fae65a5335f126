"""Contrastive losses: what belongs together is found among a batch of others.

van den Oord, Li & Vinyals (2018). Representation learning with contrastive predictive coding. arXiv:1807.03748 (InfoNCE).
Radford et al. (2021). Learning transferable visual models from natural language supervision. ICML (both directions).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from neuropil.errors import UsageError


def info_nce(
    queries: Float[Tensor, "batch feature"], keys: Float[Tensor, "batch feature"], *, temperature: float = 0.1
) -> Float[Tensor, ""]:
    r"""Cross-entropy of finding each query's own key among all keys of the batch, by cosine similarity.

    .. math:: -\frac{1}{B} \sum_i \log \frac{\exp(\cos(q_i, k_i) / \tau)}{\sum_j \exp(\cos(q_i, k_j) / \tau)}

    Parameters
    ----------
    queries, keys : Tensor of shape (batch, feature)
        Row i of one belongs to row i of the other.
    temperature : float, default 0.1
        Divisor of the similarities.

    Examples
    --------
    >>> info_nce(torch.eye(3), torch.eye(3), temperature=0.1) < 1e-3
    tensor(True)
    """
    if not temperature > 0:
        raise UsageError(f"The temperature of a contrastive loss must be positive, got {temperature}.")
    similarity = functional.normalize(queries, dim=-1) @ functional.normalize(keys, dim=-1).T
    return functional.cross_entropy(similarity / temperature, torch.arange(len(queries), device=queries.device))
