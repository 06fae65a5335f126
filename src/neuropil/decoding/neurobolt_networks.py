"""The two encoders of NeuroBOLT and their sum; see `neuropil.decoding.neurobolt`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from neuropil.decoding.aligned import check_name
from neuropil.errors import DataError, UsageError
from neuropil.nn.attention import TransformerEncoder
from neuropil.nn.dropout import Dropout
from neuropil.nn.electrodes import LABRAM_ELECTRODES, ElectrodeEmbedding, electrode_rows
from neuropil.nn.embedding import sinusoidal_positions
from neuropil.nn.linear_attention import LinearTransformer
from neuropil.nn.patches import PatchConvolution
from neuropil.nn.spectrogram import MultiScaleSpectralEmbedding

BRANCHES = ("both", "spectral", "spatiotemporal")


class SpatiotemporalEncoder(nn.Module):
    """LaBraM's Transformer over patches of one electrode and one second each.

    1. Patches -> tokens by three small convolutions; a class token in front.
    2. The electrode's vector (by name, from a table of 128) and the vector of the second are added; dropout.
    3. `depth` pre-norm blocks with normalised queries and keys, scaled residuals and stochastic depth.
    4. Mean over the patch tokens (the class token only takes part in the attention), LayerNorm.
    """

    def __init__(
        self,
        n_times: int,
        patch_size: int,
        emb_size: int,
        depth: int,
        num_heads: int,
        drop_prob: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.patches = PatchConvolution(patch_size, emb_size)
        self.class_token = nn.Parameter(torch.empty(emb_size))
        self.electrodes = ElectrodeEmbedding(LABRAM_ELECTRODES, emb_size, class_row=True, std=0.02)
        self.seconds = nn.Parameter(torch.empty(n_times // patch_size, emb_size))
        self.dropout = Dropout(drop_prob)
        self.encoder = TransformerEncoder(
            depth,
            emb_size,
            num_heads=num_heads,
            qkv_bias=False,
            qk_norm=True,
            layer_scale=0.1,
            drop_prob=drop_prob,
            attention_drop_prob=0.0,
            hidden_drop_prob=0.0,
            drop_path=drop_path,
            norm_eps=1e-6,
        )
        self.norm = nn.LayerNorm(emb_size, eps=1e-6)
        nn.init.trunc_normal_(self.class_token, std=0.02)
        nn.init.trunc_normal_(self.seconds, std=0.02)

    def forward(self, x: Float[Tensor, "batch channel time"], names: Sequence[str]) -> Float[Tensor, "batch feature"]:
        patches = rearrange(x, "batch channel (patch sample) -> batch channel patch sample", sample=self.patch_size)
        of_class, of_electrodes = self.electrodes(names).split([1, len(names)])
        tokens = self.patches(patches) + of_electrodes[:, None] + self.seconds
        tokens = rearrange(tokens, "batch channel patch feature -> batch (channel patch) feature")
        first = (self.class_token + of_class).expand(len(x), 1, -1)
        tokens = self.encoder(self.dropout(torch.cat([first, tokens], dim=1)))
        return self.norm(tokens[:, 1:].mean(dim=1))


class SpectralEncoder(nn.Module):
    """Multi-scale spectra of every electrode, mixed by linear attention.

    1. Magnitudes of short-time Fourier transforms at scales that double -> tokens, added over scales.
    2. The electrode's vector (by name, from a table of the training montage) and sinusoidal positions are added; dropout.
    3. Tokens of all electrodes in a row through a linear-attention Transformer; mean over tokens.
    """

    def __init__(
        self,
        names: Sequence[str],
        n_times: int,
        base: int,
        n_scales: int,
        emb_size: int,
        depth: int,
        num_heads: int,
        drop_prob: float,
        log: bool,
    ) -> None:
        super().__init__()
        self.spectra = MultiScaleSpectralEmbedding(n_times, base, n_scales, emb_size, log=log)
        self.electrodes = ElectrodeEmbedding(names, emb_size)
        # the paper has sines and cosines in turn
        positions = rearrange(sinusoidal_positions(n_times // base, emb_size), "t (part pair) -> t (pair part)", part=2)
        self.register_buffer("positions", positions, persistent=False)
        self.dropout = Dropout(drop_prob)
        self.encoder = LinearTransformer(depth, emb_size, num_heads=num_heads, drop_prob=2 * drop_prob)

    positions: Tensor

    def forward(self, x: Float[Tensor, "batch channel time"], names: Sequence[str]) -> Float[Tensor, "batch feature"]:
        tokens = self.dropout(self.spectra(x) + self.electrodes(names)[:, None] + self.positions)
        return self.encoder(rearrange(tokens, "batch channel token feature -> batch (channel token) feature")).mean(1)


class NeuroBOLT(nn.Module):
    """NeuroBOLT: the sum of a spatiotemporal and a multi-scale spectral encoder of the EEG before a volume; returns region values.

    Both encoders find electrodes by name, so that a window may have the electrodes of the training montage in any order, or some only.

    Parameters
    ----------
    n_chans, n_outputs, n_times : int
        Electrodes, regions, samples of a window; samples a multiple of a patch and of the longest spectral window.
    sfreq : float
        Sampling rate in Hz.
    ch_names : sequence of str
        Electrodes of the training montage, all among `LABRAM_ELECTRODES` unless only the spectral branch is used.
    patch : float, default 1.0
        Length of a patch in s.
    base_scale : float, default 0.5
        Shortest spectral window in s; every further scale is twice as long.
    n_scales : int, default 4
        Scales.
    embed_dim : int, default 200
        Features of a token.
    depth, num_heads : int, default 12 and 10
        Blocks and heads of the spatiotemporal encoder.
    spectral_depth, spectral_heads : int, default 4 and 8
        The same of the spectral encoder.
    branches : {'both', 'spectral', 'spatiotemporal'}
        Which encoders there are.
    drop_prob, drop_path : float, default 0.1
        Dropout (twice as much behind the linear attention), and stochastic depth of the last block.
    log : bool, default False
        Take log(1 + magnitude) of the spectra; the paper takes magnitudes.

    Raises
    ------
    UsageError
        For sizes that do not fit together, unknown names, unknown electrodes.

    Examples
    --------
    >>> from neuropil.signal.montage import NEUROBOLT26
    >>> network = NeuroBOLT(n_chans=26, n_outputs=1, n_times=3200, sfreq=200.0, ch_names=NEUROBOLT26)
    >>> sum(parameter.numel() for parameter in network.parameters())
    7906985
    """

    def __init__(
        self,
        *,
        n_chans: int,
        n_outputs: int,
        n_times: int,
        sfreq: float,
        ch_names: Sequence[str],
        patch: float = 1.0,
        base_scale: float = 0.5,
        n_scales: int = 4,
        embed_dim: int = 200,
        depth: int = 12,
        num_heads: int = 10,
        spectral_depth: int = 4,
        spectral_heads: int = 8,
        branches: str = "both",
        drop_prob: float = 0.1,
        drop_path: float = 0.1,
        log: bool = False,
    ) -> None:
        super().__init__()
        check_name("branches", branches, BRANCHES)
        if len(ch_names) != n_chans:
            raise UsageError(f"Every electrode needs a name, got {len(ch_names)} names for {n_chans} channels.")
        self.ch_names, self.n_times, self.branches = tuple(map(str, ch_names)), n_times, branches
        self.spatiotemporal: SpatiotemporalEncoder | None = None
        self.spectral: SpectralEncoder | None = None
        if branches != "spectral":
            electrode_rows(self.ch_names, LABRAM_ELECTRODES)
            patch_size = round(patch * sfreq)
            if patch_size < 1 or n_times % patch_size:
                raise UsageError(
                    f"A window must be whole patches of {patch:g} s ({patch_size} samples at {sfreq:g} Hz), got {n_times} samples; "
                    "cut other windows or change `patch`."
                )
            self.spatiotemporal = SpatiotemporalEncoder(
                n_times, patch_size, embed_dim, depth, num_heads, drop_prob, drop_path
            )
        if branches != "spatiotemporal":
            self.spectral = SpectralEncoder(
                self.ch_names,
                n_times,
                round(base_scale * sfreq),
                n_scales,
                embed_dim,
                spectral_depth,
                spectral_heads,
                drop_prob,
                log,
            )
        self.head = nn.Linear(embed_dim, n_outputs)
        self._start()

    def _start(self) -> None:
        """Initial weights: small linear maps, deeper residuals smaller, predictions that start near 0."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        with torch.no_grad():
            for number, block in enumerate(self.spatiotemporal.encoder.blocks if self.spatiotemporal else (), start=1):
                for last in (block.attention.output, block.mlp[-1]):  # type: ignore[union-attr, index]
                    last.weight.div_((2.0 * number) ** 0.5)  # type: ignore[union-attr, operator]
            self.head.weight.mul_(0.001)

    def forward(
        self, x: Float[Tensor, "batch channel time"], ch_names: Sequence[str] | None = None
    ) -> Float[Tensor, "batch region"]:
        """Regions from windows in units of 100 µV, their means removed; `ch_names` if they are not those of the training montage."""
        return self.head(nn.functional.gelu(self.features(x, ch_names)))

    def features(
        self, x: Float[Tensor, "batch channel time"], ch_names: Sequence[str] | None = None
    ) -> Float[Tensor, "batch feature"]:
        """The sum of what the encoders say, of which the head reads the GELU."""
        names = self.ch_names if ch_names is None else tuple(ch_names)
        if x.shape[1] != len(names) or x.shape[2] != self.n_times:
            raise UsageError(
                f"The network expects {len(names)} channels of {self.n_times} samples, got {x.shape[1]} of {x.shape[2]}; "
                "cut the windows alike, and name the electrodes where they are others than in training."
            )
        parts = [encoder(x, names) for encoder in (self.spatiotemporal, self.spectral) if encoder is not None]
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]

    def depth_of(self, parameter: str) -> int:
        """Layers between a parameter and the output, for layer-wise learning rates; 0 outside the spatiotemporal Transformer."""
        n_blocks = len(self.spatiotemporal.encoder.blocks) if self.spatiotemporal else 0
        if parameter.startswith("spatiotemporal.encoder.blocks."):
            return n_blocks - int(parameter.split(".")[3])
        starts = ("spatiotemporal.patches.", "spatiotemporal.class_token", "spatiotemporal.electrodes.")
        return n_blocks + 1 if parameter.startswith(starts) else 0

    def load_labram(self, path: str | Path) -> None:
        """Start the spatiotemporal encoder from LaBraM-base weights.

        Parameters
        ----------
        path : path-like
            A safetensors file with the parameter names of LaBraM's code, with or without `student.` in front. What the encoder does not
            have (codebook head, mask token) is left aside; a final normalisation that the file does not have keeps its start.

        Raises
        ------
        FileNotFoundError, DataError
            If the file is missing, damaged, or of a network of another size.
        UsageError
            If this network has no spatiotemporal encoder.
        """
        if self.spatiotemporal is None:
            raise UsageError(
                "LaBraM's weights are for the spatiotemporal encoder, which branches='spectral' leaves out."
            )
        if not Path(path).is_file():
            raise FileNotFoundError(f"Expected LaBraM's weights in safetensors at {path}, found no file there.")
        try:
            stored = {name.removeprefix("student."): value for name, value in load_file(path).items()}
        except SafetensorError as error:
            raise DataError(
                f"{path} is no safetensors file; convert a checkpoint of another kind with safetensors.torch.save_file."
            ) from error
        own = self.spatiotemporal.state_dict()
        for name, value in own.items():
            source = _labram_name(name)
            if source not in stored:
                if source.startswith("fc_norm."):
                    continue
                raise DataError(f"{path} has no {source}; take the weights of LaBraM-base.")
            given = stored[source].squeeze()
            if source == "time_embed" and given.ndim == 2:
                given = given[: len(value)]
            if given.numel() != value.numel():
                raise DataError(
                    f"{source} in {path} has shape {tuple(given.shape)}, this network needs {tuple(value.shape)}; "
                    "LaBraM-base has 12 blocks of 10 heads, 200 features, and patches of 200 samples."
                )
            own[name] = given.reshape(value.shape)
        self.spatiotemporal.load_state_dict(own)


_LABRAM_PARTS = {
    "class_token": "cls_token",
    "electrodes.table": "pos_embed",
    "seconds": "time_embed",
    "norm.weight": "fc_norm.weight",
    "norm.bias": "fc_norm.bias",
}
_LABRAM_BLOCK = {
    "attention_norm": "norm1",
    "attention.query_key_value": "attn.qkv",
    "attention.query_norm": "attn.q_norm",
    "attention.key_norm": "attn.k_norm",
    "attention.output": "attn.proj",
    "mlp_norm": "norm2",
    "mlp.0": "mlp.fc1",
    "mlp.3": "mlp.fc2",
    "attention_residual.1.gain": "gamma_1",
    "mlp_residual.1.gain": "gamma_2",
}
_LABRAM_PATCHES = {
    str(layer): f"{kind}{layer // 3 + 1}" for layer in range(9) for kind in [("conv", "norm", "")[layer % 3]]
}


def _labram_name(name: str) -> str:
    """The name in LaBraM's code of a parameter of the spatiotemporal encoder."""
    if name in _LABRAM_PARTS:
        return _LABRAM_PARTS[name]
    if name.startswith("patches.layers."):
        _, _, layer, kind = name.split(".")
        return f"patch_embed.{_LABRAM_PATCHES[layer]}.{kind}"
    _, _, number, rest = name.split(".", 3)
    if rest in _LABRAM_BLOCK:
        return f"blocks.{number}.{_LABRAM_BLOCK[rest]}"
    part, kind = rest.rsplit(".", 1)
    return f"blocks.{number}.{_LABRAM_BLOCK[part]}.{kind}"
