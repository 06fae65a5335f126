r"""Patterns: how the activity in the channels goes with what a decoder says.

The weights of a decoder say how it extracts its answer, not where the answer comes from: a channel without signal gets a large weight if
it helps to cancel noise. What may be drawn on a head is the pattern. For a linear decoder with the output :math:`s = w^\top x` Haufe's
formula gives it, :math:`a = \Sigma_x w / \mathrm{var}(s) = \mathrm{cov}(x, s) / \mathrm{var}(s)`. The right-hand side needs no weights:
it is computed here from windows and the decoder's log-odds, so that it serves every decoder, with the features of which the
pattern is asked: the mean of every channel in stretches of time, and the power in frequency bands.

Haufe, Meinecke, Görgen, Dähne, Haynes, Blankertz & Bießmann (2014). On the interpretation of weight vectors of linear models in
multivariate neuroimaging. NeuroImage 87, 96-110.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float, Float64, Real
from numpy import ndarray

from neuropil.errors import UsageError
from neuropil.explain.asking import (
    channel_names,
    check_decoder,
    class_coordinate,
    log_odds,
    probabilities,
    sample_times,
    sampling_rate,
)
from neuropil.explain.bands import Bands, band_members, band_power, resolved_bands
from neuropil.signal.covariance import covariances
from neuropil.signal.spatial import activation_patterns

N_STRETCHES = 8


class OutputPattern(NamedTuple):
    r"""How features go with outputs.

    Attributes
    ----------
    pattern : ndarray of shape (n_outputs, ...)
        :math:`\mathrm{cov}(x, s) / \mathrm{sd}(s)`: what one standard deviation of the output adds to the features, in their unit.
    correlation : ndarray of shape (n_outputs, ...)
        The same in standard deviations of the features, from -1 to 1.
    """

    pattern: ndarray
    correlation: ndarray


def pattern_of(features: Real[ndarray, "window ..."], outputs: Float[ndarray, "window output"]) -> OutputPattern:
    """Patterns of outputs over features, one output at a time; 0 where the output or the feature is the same for all windows.

    Examples
    --------
    >>> x = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]])
    >>> pattern_of(x, np.array([[-1.0], [0.0], [1.0]])).pattern.round(3)
    array([[1.633, 0.   ]])
    """
    centred = np.asarray(features, dtype=np.float64) - features.mean(axis=0)
    answers = outputs - outputs.mean(axis=0)
    deviation = answers.std(axis=0)
    # an output that varies by rounding only says nothing
    varies = deviation > 1e-12 * np.maximum(np.abs(outputs).max(axis=0, initial=0.0), 1e-300)
    scaled = np.divide(answers, deviation, out=np.zeros_like(answers), where=varies)
    pattern = np.tensordot(scaled, centred, axes=(0, 0)) / len(features)
    spread = centred.std(axis=0)
    correlation = np.divide(
        pattern, spread, out=np.zeros_like(pattern), where=np.broadcast_to(spread > 0, pattern.shape)
    )
    return OutputPattern(pattern, correlation)


def stretch_means(
    windows: Real[ndarray, "window channel time"], n_stretches: int = N_STRETCHES
) -> Float64[ndarray, "window channel stretch"]:
    """Mean of every channel in equal stretches of time; a remainder shorter than a stretch is left out at the end."""
    edges = stretches(windows.shape[-1], n_stretches)
    return np.stack([windows[..., low:high].mean(axis=-1, dtype=np.float64) for low, high in edges], axis=-1)


def stretches(n_times: int, n_stretches: int) -> list[tuple[int, int]]:
    """First and last-but-one sample of equal stretches of time; as many as there are samples, if these are fewer.

    Examples
    --------
    >>> stretches(10, 3)
    [(0, 3), (3, 6), (6, 9)]
    """
    if n_stretches < 1:
        raise UsageError(f"Time is divided into one stretch or more, got {n_stretches}.")
    n_stretches = min(n_stretches, n_times)
    width = n_times // n_stretches
    return [(k * width, (k + 1) * width) for k in range(n_stretches)]


def log_band_power(
    windows: Real[ndarray, "window channel time"], sfreq: float, bands: Bands
) -> Float64[ndarray, "window channel band"]:
    """Power in frequency bands in decibels (of the squared unit of the data)."""
    power = band_power(windows, band_members(windows.shape[-1], sfreq, bands))
    return 10 * np.log10(np.maximum(power, np.finfo(np.float64).tiny))


def output_patterns(
    estimator: Any,
    X: Any,
    *,
    groups: Any = None,
    n_stretches: int = N_STRETCHES,
    bands: Bands | None = None,
) -> xr.Dataset:
    """Patterns of a decoder's log-odds over voltage in time and over band power, from windows that it has not been fitted on.

    Parameters
    ----------
    estimator : classifier
        Fitted; linear or not.
    X : DataArray or ndarray of shape (n_windows, n_channels, n_times)
    groups : array-like of shape (n_windows,), optional
        For decoders that align groups.
    n_stretches : int, default 8
        Stretches of time.
    bands : mapping of name to (low, high) in Hz, optional
        By default `covering_bands`.

    Returns
    -------
    Dataset
        `potential` (class, channel, time) in the unit of the data and `power` (class, channel, band) in dB: what one standard deviation
        of a class's log-odds adds; `potential_correlation` and `power_correlation` from -1 to 1. Without a sampling rate there is
        no power.

    Raises
    ------
    UsageError, DataError
        If the decoder is not fitted or the windows do not fit it.

    Examples
    --------
    >>> from neuropil.decoding import make
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["left", "right"], 30)
    >>> X = rng.normal(size=(60, 3, 64)) + (y == "right")[:, None, None] * np.array([[0.0], [2.0], [0.0]])
    >>> found = output_patterns(make("binned-lda").fit(X, y), X)
    >>> found["potential_correlation"].sel({"class": "right"}).mean("time").round(1).values.tolist()
    [0.1, 0.9, -0.0]
    """
    check_decoder(estimator, X)
    outputs = log_odds(probabilities(estimator, X, groups))
    windows, sfreq = np.asarray(X), sampling_rate(estimator, X)
    times = sample_times(X, sfreq)
    middles = [float(times[low:high].mean()) for low, high in stretches(windows.shape[-1], n_stretches)]
    names = {"class": class_coordinate(estimator), "channel": channel_names(estimator, X)}
    unit = str(getattr(X, "attrs", {}).get("unit", "") or "")
    found = pattern_of(stretch_means(windows, n_stretches), outputs)
    dims = ("class", "channel", "time")
    data = {
        "potential": (dims, found.pattern, {"unit": unit}),
        "potential_correlation": (dims, found.correlation, {"unit": ""}),
    }
    coords: dict[str, Any] = {**names, "time": middles}
    if sfreq is not None:
        bands = resolved_bands(windows.shape[-1], sfreq, bands)
        found = pattern_of(log_band_power(windows, sfreq, bands), outputs)
        dims = ("class", "channel", "band")
        data |= {
            "power": (dims, found.pattern, {"unit": "dB"}),
            "power_correlation": (dims, found.correlation, {"unit": ""}),
        }
        coords |= {"band": list(bands), "low": ("band", [b[0] for b in bands.values()])}
        coords |= {"high": ("band", [b[1] for b in bands.values()])}
    return xr.Dataset(data, coords=coords, attrs={"n_windows": len(windows)})


def decoder_patterns(estimator: Any, X: Any) -> xr.DataArray | None:
    """Activation patterns of a linear decoder's own filters or discriminants; None of decoders that have none.

    These are the patterns that the decoder keeps (`patterns_`), or, for one that only keeps spatial filters (`filters_`), Haufe's formula
    with the covariance of the windows.

    Parameters
    ----------
    estimator : classifier
        Fitted; of a pipeline, the last step.
    X : DataArray or ndarray of shape (n_windows, n_channels, n_times)

    Returns
    -------
    DataArray of shape (n_components, n_channels) or (n_components, n_channels, n_stretches), or None
        In the unit of the data.
    """
    check_decoder(estimator, X)
    estimator = getattr(estimator, "best_estimator_", estimator)
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    names, unit = channel_names(estimator, X), str(getattr(X, "attrs", {}).get("unit", "") or "")
    patterns, filters = (getattr(last, name, None) for name in ("patterns_", "filters_"))
    if isinstance(patterns, ndarray) and patterns.ndim in (2, 3) and patterns.shape[1] == len(names):
        values = patterns
    elif isinstance(filters, ndarray) and filters.ndim == 2 and filters.shape[1] == len(names):
        covariance = covariances(np.asarray(X, dtype=np.float64)).mean(axis=0)
        values = activation_patterns(filters.T, covariance).T
    else:
        return None
    coords: dict[str, Any] = {"component": np.arange(1, len(values) + 1), "channel": names}
    if values.ndim == 3:
        times = sample_times(X, sampling_rate(estimator, X))
        coords["time"] = [float(times[low:high].mean()) for low, high in stretches(len(times), values.shape[2])]
    return xr.DataArray(values, dims=tuple(coords), coords=coords, attrs={"unit": unit})
