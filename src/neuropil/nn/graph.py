"""Attention over the nodes of a fixed graph, at every moment of a (batch, time, node, feature) tensor.

Veličković et al. (2018). Graph attention networks. ICLR.
"""

from __future__ import annotations

from typing import cast

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from neuropil.nn.conv import SeparableConv1d, same_padding
from neuropil.nn.dropout import Dropout

LARGEST_MAPS = 32_000_000
"""Numbers that the attention weights of one training step may hold; beyond, they are computed in parts, and again for the gradient."""


class GraphAttention(nn.Module):
    r"""Every node takes a weighted mean of the values of its neighbours and of itself; heads are averaged.

    With scores :math:`a_{hi}` of node i as a source and :math:`b_{hj}` as a destination, of whatever origin,

    .. math:: \alpha_{hji} = \mathrm{softmax}_{i \to j} f_{hji}(a_{hi} + b_{hj}), \qquad
              y_j = \tfrac{1}{H} \sum_h \sum_i \alpha_{hji} v_{hi}

    The softmax runs over the sources i that have a link to j, and j itself: there is always one. `f` is the identity for
    positive arguments and multiplies negative ones by a slope that is learned for every head and link.

    Scores are only computed along links, then the weights are written into a matrix for the product with the values, so that
    sparse graphs of electrodes cost little more than the product.

    Parameters
    ----------
    adjacency : Tensor of bool of shape (n_nodes, n_nodes)
        Row j: the sources of node j. Self-loops are added.
    num_heads : int
    slope : float, default 0.0
        Initial slope for negative scores; 0.2 in ordinary graph attention.
    drop_prob : float, default 0.0
        Dropout of the weights.

    Raises
    ------
    ValueError
        If the adjacency is not a square matrix.

    Examples
    --------
    >>> chain = torch.tensor([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=torch.bool)
    >>> attention = GraphAttention(chain, num_heads=1)
    >>> scores, values = torch.zeros(1, 1, 3, 1), torch.tensor([0.0, 1.0, 5.0]).reshape(1, 1, 3, 1, 1)
    >>> attention(scores, scores, values).detach().flatten()
    tensor([0.5000, 2.0000, 3.0000])
    """

    neighbours: Tensor
    _is_link: Tensor
    _places: Tensor

    def __init__(
        self, adjacency: Bool[Tensor, "node other"], *, num_heads: int, slope: float = 0.0, drop_prob: float = 0.0
    ) -> None:
        super().__init__()
        n_nodes = len(adjacency)
        if adjacency.shape != (n_nodes, n_nodes):
            raise ValueError(f"An adjacency must be a square matrix, got shape {tuple(adjacency.shape)}.")
        self.n_nodes, self.num_heads = n_nodes, num_heads
        links = adjacency | torch.eye(n_nodes, dtype=torch.bool)
        n_places = int(links.sum(dim=1).max())
        # every row lists its sources first, in ascending order, then as many others as it takes to fill the row
        order = torch.sort((~links).to(torch.uint8), dim=1, stable=True).indices[:, :n_places]
        is_link = torch.gather(links, 1, order)
        self.register_buffer("neighbours", order.T.contiguous(), persistent=False)
        self.register_buffer("_is_link", is_link.T.contiguous(), persistent=False)
        rows = torch.arange(n_nodes)[None] * n_nodes + self.neighbours
        self.register_buffer("_places", rows[:, None] * num_heads + torch.arange(num_heads)[:, None], persistent=False)
        self.slopes = nn.Parameter(torch.full((num_heads, n_nodes, n_nodes), slope))
        self.dropout = Dropout(drop_prob)

    def forward(
        self,
        sources: Float[Tensor, "batch time node head"],
        destinations: Float[Tensor, "batch time node head"],
        values: Float[Tensor, "batch time node head feature"],
    ) -> Float[Tensor, "batch time node feature"]:
        batch = len(values)
        scores = [rearrange(part, "batch time node head -> (batch time) node head") for part in (sources, destinations)]
        flat = rearrange(values, "batch time node head feature -> (batch time) (node head) feature")
        n_maps = flat.shape[0] * self.num_heads * self.n_nodes**2
        if n_maps <= LARGEST_MAPS:
            mixed = self._mix(scores[0], scores[1], flat)
        else:
            rows = max(1, flat.shape[0] * LARGEST_MAPS // n_maps)
            parts = zip(scores[0].split(rows), scores[1].split(rows), flat.split(rows), strict=True)
            mixed = torch.cat([checkpoint(self._mix, *part, use_reentrant=False) for part in parts])
        return rearrange(mixed, "(batch time) node feature -> batch time node feature", batch=batch)

    def maps(
        self, sources: Float[Tensor, "batch time node head"], destinations: Float[Tensor, "batch time node head"]
    ) -> Float[Tensor, "batch time head node source"]:
        """The weights (without dropout): how much each node takes from each source; rows sum to 1."""
        scores = [rearrange(part, "batch time node head -> (batch time) node head") for part in (sources, destinations)]
        dense = self._dense(self._weights(*scores))
        return rearrange(
            dense,
            "(batch time) node (source head) -> batch time head node source",
            batch=len(sources),
            head=self.num_heads,
        )

    def _weights(self, sources: Tensor, destinations: Tensor) -> Tensor:
        """Weights of shape (place, head, node, moment): the moments last, where they are contiguous for every operation."""
        sources, destinations = (part.permute(2, 1, 0).contiguous() for part in (sources, destinations))
        scores = sources[:, self.neighbours].transpose(0, 1) + destinations
        slopes = torch.gather(self.slopes, 2, self.neighbours.T.expand(self.num_heads, -1, -1)).permute(2, 0, 1)
        scores = torch.relu(scores) - slopes[..., None] * torch.relu(-scores)
        scores = scores.masked_fill(~self._is_link[:, None, :, None], -torch.inf)
        return torch.softmax(scores, dim=0)

    def _dense(self, weights: Tensor) -> Tensor:
        """The same as matrices of shape (moment, node, source x head)."""
        if len(weights) == self.n_nodes and bool(self._is_link.all()):
            return rearrange(weights, "source head node moment -> moment node (source head)")
        kept = self._is_link[:, None].expand_as(self._places)
        dense = weights.new_zeros(weights.shape[-1], self.num_heads * self.n_nodes**2)
        dense[:, self._places[kept]] = weights[kept].T
        return dense.unflatten(1, (self.n_nodes, -1))

    def _mix(self, sources: Tensor, destinations: Tensor, values: Tensor) -> Tensor:
        weights = self.dropout(self._weights(sources, destinations))
        return torch.bmm(self._dense(weights), values) / self.num_heads


class TemporalGraphAttention(nn.Module):
    """Graph attention whose projections are convolutions over time: from `n_features` to `head_size` features of every electrode.

    1. Separable convolution over time to `num_heads` x `head_size` features, BatchNorm, SELU: what the scores are made of. Another one,
       with weights of its own, makes the values.
    2. For every head, two separable convolutions of these features to one number each, BatchNorm, SELU: the scores of an electrode as
       a source and as a destination.
    3. `GraphAttention` with one slope per head and pair of electrodes; mean over heads; bias.

    Parameters
    ----------
    adjacency : Tensor of bool of shape (n_chans, n_chans)
    n_features, num_heads, head_size : int
    kernel_size, score_kernel_size : int
        Taps of the convolutions of steps 1 and 2. Of an even number the longer side lies in the future.
    multiplier : int, default 4
        Depthwise kernels per feature in all of them.
    momentum : float, default 0.1
        Of the BatchNorms, whose epsilon is 1e-3.
    drop_prob : float, default 0.0
        Dropout of the attention weights.

    References
    ----------
    Lim et al. (2025). AGTCNet. arXiv:2506.21338.

    Examples
    --------
    >>> layer = TemporalGraphAttention(torch.eye(22, dtype=torch.bool), 8, num_heads=2, head_size=16, kernel_size=8, score_kernel_size=2)
    >>> sum(parameter.numel() for parameter in layer.parameters())
    4448
    >>> layer(torch.zeros(1, 50, 22, 8)).shape
    torch.Size([1, 50, 22, 16])
    """

    def __init__(
        self,
        adjacency: Bool[Tensor, "channel other"],
        n_features: int,
        *,
        num_heads: int,
        head_size: int,
        kernel_size: int,
        score_kernel_size: int,
        multiplier: int = 4,
        momentum: float = 0.1,
        drop_prob: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_heads, self.kernel_size, self.score_kernel_size = num_heads, kernel_size, score_kernel_size
        width = num_heads * head_size
        self.for_scores = SeparableConv1d(n_features, width, kernel_size, multiplier=multiplier)
        self.for_values = SeparableConv1d(n_features, width, kernel_size, multiplier=multiplier)
        self.features_norm = nn.BatchNorm1d(2 * width, eps=1e-3, momentum=momentum)
        self.scores = nn.ModuleList(
            SeparableConv1d(head_size, 1, score_kernel_size, multiplier=multiplier) for _ in range(2 * num_heads)
        )
        self.scores_norm = nn.BatchNorm1d(2 * num_heads, eps=1e-3, momentum=momentum)
        self.attention = GraphAttention(adjacency, num_heads=num_heads, drop_prob=drop_prob)
        self.bias = nn.Parameter(torch.zeros(head_size))

    def forward(self, x: Float[Tensor, "batch time channel feature"]) -> Float[Tensor, "batch time channel out"]:
        for_scores, values = self._features(x)
        return self.attention(*self._scores(for_scores), values.unflatten(-1, (self.num_heads, -1))) + self.bias

    def maps(self, x: Float[Tensor, "batch time channel feature"]) -> Float[Tensor, "batch moment head channel source"]:
        """The attention weights: how much each electrode takes from each source; rows sum to 1."""
        return self.attention.maps(*self._scores(self._features(x)[0]))

    def _features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both convolutions of step 1 as one matrix product with the stretches of time."""
        kernels = torch.cat([self.for_scores.kernel(), self.for_values.kernel()])
        # contiguous, so that this is one product of two matrices and not one a moment
        stretches = _stretches(x.contiguous(), self.kernel_size)
        features = functional.linear(stretches, rearrange(kernels, "out feature tap -> out (tap feature)"))
        for_scores, values = normalised_selu(self.features_norm, features).chunk(2, dim=-1)
        return for_scores, values

    def _scores(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """All convolutions of step 2: products of every sample with every tap, then sums of shifted products."""
        kernels = torch.stack([cast(SeparableConv1d, conv).kernel()[0] for conv in self.scores]).unflatten(
            0, (2, self.num_heads)
        )
        of_heads = [rearrange(kernel, "side feature tap -> feature (tap side)") for kernel in kernels.unbind(dim=1)]
        products = features.reshape(-1, features.shape[-1]) @ torch.block_diag(*of_heads)
        products = rearrange(
            products.reshape(*features.shape[:-1], -1),
            "batch time channel (head tap side) -> tap batch time channel (side head)",
            head=self.num_heads,
            side=2,
        )
        left, right = same_padding(self.score_kernel_size)
        padded = functional.pad(products, (0, 0, 0, 0, left, right))
        n_times = features.shape[1]
        summed = torch.stack([padded[k, :, k : k + n_times] for k in range(self.score_kernel_size)]).sum(dim=0)
        sources, destinations = normalised_selu(self.scores_norm, summed).chunk(2, dim=-1)
        return sources, destinations


def _stretches(
    x: Float[Tensor, "batch time channel feature"], kernel_size: int
) -> Float[Tensor, "batch time channel tap"]:
    """Every sample with those around it that a kernel reaches, features of one tap side by side."""
    left, right = same_padding(kernel_size)
    padded = functional.pad(x, (0, 0, 0, 0, left, right))
    return torch.cat([padded[:, k : k + x.shape[1]] for k in range(kernel_size)], dim=-1)


def normalised_selu(norm: nn.BatchNorm1d, features: Float[Tensor, "*rows feature"]) -> Float[Tensor, "*rows feature"]:
    """BatchNorm and SELU of features that come last."""
    rows = features.reshape(-1, features.shape[-1])
    return functional.selu(norm(rows), inplace=True).reshape(features.shape)
