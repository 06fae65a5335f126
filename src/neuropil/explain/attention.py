r"""Attention maps: from where every token of a network takes what it passes on, averaged over windows.

A decoder shows its attention in one of three ways, which are looked for in this order:

- `attention(X)` of the estimator returns (window, step, head, channel, channel) or (window, head, channel, channel); the steps
  are layers if there are as many as the estimator's `depth`, else points in time;
- `attention_maps(batch)` of its module returns named tensors (depth, batch, head, token, token);
- `channel_attention(X)` returns one weight an electrode, (window, channel).

Rows are the tokens that receive, columns the ones that are attended to; every row adds up to 1, whichever way round a network has it.

Through several layers the information mixes. Attention rollout follows it back to the input: with the heads' mean :math:`A_l` and half
of every token passed on unchanged by the residual connection, it is :math:`\prod_l (A_l + I) / 2`, the last layer first.

Abnar & Zuidema (2020). Quantifying attention flow in Transformers. ACL.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float, Float64, Real
from numpy import ndarray
from sklearn.pipeline import Pipeline

from neuropil.errors import UsageError
from neuropil.evaluate.predicting import input_for
from neuropil.explain.asking import channel_names, check_decoder

ELECTRODES = ("spatial", "channel", "electrode")


def has_attention(estimator: Any) -> bool:
    """Whether a decoder shows its attention in one of the three ways."""
    last = _last(estimator)
    return (
        hasattr(last, "attention")
        or hasattr(last, "channel_attention")
        or hasattr(getattr(last, "module_", None), "attention_maps")
    )


def attention_maps(estimator: Any, X: Any, *, groups: Any = None) -> dict[str, xr.DataArray]:
    """Attention of a decoder, mean over windows.

    Parameters
    ----------
    estimator : classifier
        Fitted, with attention in one of the three ways; alone or at the end of a pipeline.
    X : DataArray or ndarray of shape (n_windows, n_channels, n_times)
    groups : array-like of shape (n_windows,), optional
        For decoders that align groups.

    Returns
    -------
    dict of str to DataArray
        Maps (layer or step, head, target, source); "... rollout" (target, source) of those in layers, computed window by window;
        "channel weights" (channel,). Targets and sources are named where they are electrodes.

    Raises
    ------
    UsageError
        If the decoder has no attention to show.
    """
    check_decoder(estimator, X)
    if not has_attention(estimator):
        raise UsageError(f"{type(_last(estimator)).__name__} attends to nothing that it could show; use occlusion.")
    names = channel_names(estimator, X)
    last, inputs = _before_last(estimator, X)
    options = {} if groups is None else {"groups": np.asarray(groups)}
    found: dict[str, xr.DataArray] = {}
    if hasattr(last, "attention"):
        maps = np.asarray(last.attention(inputs, **options))
        layers = maps.ndim == 4 or maps.shape[1] == getattr(last, "depth", 1)
        found |= _described("electrodes", maps, names, layers)
    elif hasattr(getattr(last, "module_", None), "attention_maps"):
        for name, maps in _module_maps(last, inputs, groups).items():
            found |= _described(name, maps, names if name.lower() in ELECTRODES else None, True)
    if hasattr(last, "channel_attention"):
        try:
            weights = np.asarray(last.channel_attention(inputs, **options))
        except UsageError:  # a variant of the network without this branch
            return found
        found["channel weights"] = xr.DataArray(
            weights.mean(axis=0, dtype=np.float64), dims="channel", coords={"channel": names}
        )
    return found


def attention_rollout(
    maps: Real[ndarray, "*batch layer head target source"],
) -> Float64[ndarray, "*batch target source"]:
    """Attention rollout of layers, the first of them first.

    Parameters
    ----------
    maps : ndarray of shape (..., n_layers, n_heads, n_tokens, n_tokens)
        Rows add up to 1.

    Examples
    --------
    >>> maps = np.array([[[[0.5, 0.5], [0.0, 1.0]]], [[[1.0, 0.0], [1.0, 0.0]]]])
    >>> attention_rollout(maps).tolist()
    [[0.75, 0.25], [0.375, 0.625]]
    """
    n_tokens = maps.shape[-1]
    mixed = (maps.mean(axis=-3, dtype=np.float64) + np.eye(n_tokens)) / 2
    mixed /= mixed.sum(axis=-1, keepdims=True)
    rollout = mixed[..., 0, :, :]
    for layer in range(1, mixed.shape[-3]):
        rollout = mixed[..., layer, :, :] @ rollout
    return rollout


def _last(estimator: Any) -> Any:
    estimator = getattr(estimator, "best_estimator_", estimator)
    return _last(estimator.steps[-1][1]) if isinstance(estimator, Pipeline) else estimator


def _before_last(estimator: Any, X: Any) -> tuple[Any, Any]:
    """The last step, and the windows as they come to it."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    X = input_for(estimator, X)
    if not isinstance(estimator, Pipeline):
        return estimator, X
    for _, step in estimator.steps[:-1]:
        X = X if step in (None, "passthrough") else step.transform(X)
    return _before_last(estimator.steps[-1][1], X)


def _module_maps(network: Any, X: Any, groups: Any) -> dict[str, Float[ndarray, "window layer head target source"]]:
    """Maps of the module, a batch at a time, windows first."""
    collected: dict[str, list[ndarray]] = {}

    def forward(batch: Any) -> Any:
        for name, maps in network.module_.attention_maps(batch).items():
            collected.setdefault(str(name), []).append(maps.movedim(1, 0).cpu().numpy())
        return batch.new_zeros(len(batch))

    network._run(X, groups, forward)
    return {name: np.concatenate(parts) for name, parts in collected.items()}


def _described(name: str, maps: ndarray, channels: list[str] | None, layers: bool) -> dict[str, xr.DataArray]:
    """The mean over windows with names, and the rollout where the steps are layers."""
    if maps.ndim == 4:
        maps = maps[:, None]
    if maps.ndim != 5 or maps.shape[-1] != maps.shape[-2]:
        raise UsageError(
            f"Attention maps have the shape (window, step, head, token, token), the decoder returned {maps.shape}."
        )
    maps = _rows_receive(maps)
    n_steps, n_heads, n_tokens = maps.shape[1:4]
    step = "layer" if layers else "step"
    tokens = channels if channels is not None and len(channels) == n_tokens else [str(k + 1) for k in range(n_tokens)]
    coords = {step: np.arange(1, n_steps + 1), "head": np.arange(1, n_heads + 1), "target": tokens, "source": tokens}
    mean = xr.DataArray(maps.mean(axis=0, dtype=np.float64), dims=tuple(coords), coords=coords)
    found = {name: mean}
    if layers:
        ends = {"target": tokens, "source": tokens}
        values = attention_rollout(maps).mean(axis=0)
        found[f"{name} rollout"] = xr.DataArray(values, dims=tuple(ends), coords=ends)
    return found


def _rows_receive(maps: ndarray) -> ndarray:
    """Maps with the receiving tokens in rows: the axis along which the weights add up to 1 is that of the sources."""
    rows, columns = (float(np.abs(maps.sum(axis=axis) - 1).max()) for axis in (-1, -2))
    return maps.swapaxes(-1, -2) if columns < 1e-3 < rows else maps
