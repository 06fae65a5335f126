"""The network of RBTransformer: electrodes as tokens; see `neuropil.decoding.rbtransformer` for what it is and where it comes from."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from neuropil.errors import UsageError
from neuropil.nn.attention import TransformerEncoder
from neuropil.nn.dropout import Dropout
from neuropil.nn.embedding import TokenEmbedding


class RBTransformer(nn.Module):
    """Transformer over electrodes described by their band powers; returns logits.

    With C electrodes, B bands and D = `embed_dim`:

    1. Tokens: one linear map of the B entropies of an electrode -> (C, D).
    2. A learned vector of the electrode added (normal, deviation 1, at the start); dropout.
    3. `depth` pre-norm blocks. The attention has `num_heads` heads of width `head_dim`, whose widths need not add up to D, no bias in
       the projections of queries, keys and values, and dropout on its weights; the perceptron has one hidden layer with GELU.
    4. Mean over electrodes -> D; LayerNorm; D -> 2 D -> 2 D -> D -> logits, GELU and dropout behind each hidden layer.

    Parameters
    ----------
    n_chans, n_outputs : int
        Electrodes and classes.
    n_bands : int, default 4
        Numbers an electrode is described by.
    embed_dim : int, default 128
        Features of a token.
    depth : int, default 4
        Blocks; 0 leaves attention out, and every electrode is read by itself.
    num_heads, head_dim : int, default 6 and 32
    mlp_hidden_dim : int, default 128
        Hidden units of a block's perceptron.
    drop_prob : float, default 0.1
    identity_embedding : bool, default True
        Whether electrodes have a vector of their own; without, the network cannot tell them apart.

    Examples
    --------
    >>> import torch
    >>> network = RBTransformer(n_chans=14, n_outputs=2)
    >>> sum(parameter.numel() for parameter in network.parameters())
    662530
    >>> network(torch.zeros(3, 14, 4)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        *,
        n_chans: int,
        n_outputs: int,
        n_bands: int = 4,
        embed_dim: int = 128,
        depth: int = 4,
        num_heads: int = 6,
        head_dim: int = 32,
        mlp_hidden_dim: int = 128,
        drop_prob: float = 0.1,
        identity_embedding: bool = True,
    ) -> None:
        super().__init__()
        _check_sizes(embed_dim=embed_dim, num_heads=num_heads, head_dim=head_dim, mlp_hidden_dim=mlp_hidden_dim)
        if depth < 0:
            raise UsageError(f"depth must be 0 or more blocks, got {depth}.")
        self.n_chans, self.n_bands = n_chans, n_bands
        self.token_projection = nn.Linear(n_bands, embed_dim)
        self.electrode_embedding = TokenEmbedding(n_chans, embed_dim) if identity_embedding else nn.Identity()
        self.dropout = Dropout(drop_prob)
        self.encoder = TransformerEncoder(
            depth,
            embed_dim,
            num_heads=num_heads,
            head_size=head_dim,
            qkv_bias=False,
            mlp_size=mlp_hidden_dim,
            drop_prob=drop_prob,
        )
        self.head = nn.Sequential(
            nn.LayerNorm(embed_dim),
            *_hidden_layer(embed_dim, 2 * embed_dim, drop_prob),
            *_hidden_layer(2 * embed_dim, 2 * embed_dim, drop_prob),
            *_hidden_layer(2 * embed_dim, embed_dim, drop_prob),
            nn.Linear(embed_dim, n_outputs),
        )

    def forward(self, x: Float[Tensor, "batch channel band"]) -> Float[Tensor, "batch output"]:
        return self.head(self.features(x))

    def features(self, x: Float[Tensor, "batch channel band"]) -> Float[Tensor, "batch feature"]:
        """The mean token, which goes into the head."""
        return self.encoder(self._tokens(x)).mean(dim=1)

    def attention_maps(
        self, x: Float[Tensor, "batch channel band"]
    ) -> Float[Tensor, "depth batch head channel channel"]:
        """How much each electrode (row) takes from each electrode (column) in every block and head; rows sum to 1."""
        if not len(self.encoder.blocks):
            raise UsageError("A network without blocks (depth=0) has no attention; use a depth of 1 or more.")
        return self.encoder.attention_maps(self._tokens(x))

    def _tokens(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != (self.n_chans, self.n_bands):
            raise UsageError(
                f"The network was built for {self.n_chans} electrodes with {self.n_bands} bands, got {x.shape[1]} with {x.shape[2]}; "
                "compute the same features of the same electrodes."
            )
        return self.dropout(self.electrode_embedding(self.token_projection(x)))


def _hidden_layer(n_in: int, n_out: int, drop_prob: float) -> tuple[nn.Module, ...]:
    return nn.Linear(n_in, n_out), nn.GELU(), Dropout(drop_prob)


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise UsageError(f"{name} must be at least 1, got {size}.")
