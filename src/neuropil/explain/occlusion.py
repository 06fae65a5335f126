"""What a decoder loses when something is taken from its windows: an electrode, a stretch of time, a frequency band.

Nothing is asked of the decoder but its probabilities, so it serves every decoder. The part is taken away in all windows at once, either
by exchanging it between windows ("shuffle": what is put in is as real as what was taken out, only it belongs to another window), or by
removing it ("remove": the channel's mean in its place, or the band cut out). What is lost is how far the probability of the right class,
its log-odds and the accuracy fall. This says what the decoder depends on; a part that others can stand in for is not missed, and an
electrode that is used to cancel noise is, so the place of a source shows in `patterns`.

Zeiler & Fergus (2014). Visualizing and understanding convolutional networks. ECCV.
Breiman (2001). Random forests. Machine Learning 45 (exchange between cases).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from numpy import ndarray

from neuropil.errors import UsageError
from neuropil.explain.asking import (
    channel_names,
    check_decoder,
    class_coordinate,
    codes_of,
    log_odds,
    mean_by_class,
    partners,
    probabilities,
    replaced,
    sample_times,
    sampling_rate,
)
from neuropil.explain.bands import Bands, band_members, band_part, resolved_bands
from neuropil.explain.patterns import N_STRETCHES, stretches
from neuropil.progress import bar
from neuropil.signature import coordinate

WAYS = ("shuffle", "remove")
N_REPEATS = 3


@dataclass(frozen=True)
class Occlusion:
    """What a decoder says with and without every part.

    Attributes
    ----------
    kind : {"channel", "time", "band"}
        What was taken away.
    parts : ndarray of shape (n_parts,)
        Names of the channels or bands, or the middle of the stretches in s.
    classes : ndarray of shape (n_classes,)
    codes : ndarray of int, shape (n_windows,)
        Class for which a window is judged: its label, or what the decoder predicts.
    before : ndarray of shape (n_windows, n_classes)
        Probabilities as they are.
    after : ndarray of shape (n_repeats, n_parts, n_windows, n_classes)
        Probabilities without each part, for every exchange.
    replace : {"shuffle", "remove"}
    """

    kind: str
    parts: ndarray
    classes: ndarray
    codes: Int[ndarray, " window"]
    before: Float[ndarray, "window class"]
    after: Float[ndarray, "repeat part window class"]
    replace: str

    @property
    def accuracy(self) -> float:
        """Share of windows whose most probable class is the one they are judged for."""
        return float((self.before.argmax(axis=-1) == self.codes).mean())

    def window_drops(self, measure: str = "probability") -> Float[ndarray, "part window"]:
        """How far every window's class falls without each part, mean over the exchanges.

        Parameters
        ----------
        measure : {"probability", "log_odds", "accuracy"}
        """
        if measure not in ("probability", "log_odds", "accuracy"):
            raise UsageError(f"A drop is of the probability, log_odds or accuracy, got {measure!r}.")
        rows = np.arange(len(self.codes))
        if measure == "accuracy":
            before = (self.before.argmax(axis=-1) == self.codes).astype(np.float64)
            after = (self.after.argmax(axis=-1) == self.codes).astype(np.float64)
        else:
            scale = log_odds if measure == "log_odds" else np.asarray
            before, after = scale(self.before)[rows, self.codes], scale(self.after)[..., rows, self.codes]
        return (before - after).mean(axis=0)

    def drop(self, measure: str = "probability") -> xr.DataArray:
        """Mean drop without each part, shape (n_parts,)."""
        return xr.DataArray(self.window_drops(measure).mean(axis=1), dims=self.kind, coords={self.kind: self.parts})

    def drop_by_class(self, measure: str = "probability") -> xr.DataArray:
        """Mean drop over the windows of every class, shape (n_classes, n_parts); NaN of a class without windows."""
        values = mean_by_class(self.window_drops(measure).T, self.codes, len(self.classes))
        return xr.DataArray(values, dims=("class", self.kind), coords={"class": self.classes, self.kind: self.parts})

    def to_dataset(self) -> xr.Dataset:
        """Drops of all three measures, with and without division into classes."""
        data = {name: self.drop(name) for name in ("probability", "log_odds", "accuracy")}
        data |= {f"{name}_by_class": self.drop_by_class(name) for name in ("probability", "log_odds")}
        return xr.Dataset(
            data, attrs={"replace": self.replace, "accuracy": self.accuracy, "n_windows": len(self.codes)}
        )


Change = Callable[[ndarray, ndarray], None]
"""Puts something else into a part of windows (first argument, in place), taking it from other windows (second argument)."""


def occlude_channels(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
    regions: Mapping[str, Sequence[str]] | None = None,
    replace: str = "shuffle",
    n_repeats: int = N_REPEATS,
    random_state: int = 0,
    progress: bool | None = None,
) -> Occlusion:
    """What the decoder loses without every electrode, or every region of electrodes.

    Parameters
    ----------
    estimator : classifier
        Fitted.
    X : DataArray or ndarray of shape (n_windows, n_channels, n_times)
        Best windows that it was not fitted on.
    y : array-like of shape (n_windows,), optional
        Labels; the coordinate `label`, or else what the decoder predicts.
    groups : array-like of shape (n_windows,), optional
        Subjects; parts are exchanged within them. The coordinate `subject` without.
    regions : mapping of name to channel names, optional
        Electrodes that are taken away together; each one alone without.
    replace : {"shuffle", "remove"}
        Exchange between windows, or the channel's mean over all windows.
    n_repeats : int, default 3
        Exchanges with other partners ("remove" has but one result).
    random_state : int
    progress : bool, optional

    Examples
    --------
    >>> from neuropil.decoding import make
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["left", "right"], 30)
    >>> X = rng.normal(size=(60, 3, 64)) + (y == "right")[:, None, None] * np.array([[0.0], [2.0], [0.0]])
    >>> found = occlude_channels(make("binned-lda").fit(X, y), X, y)
    >>> found.drop("accuracy").round(1).values.tolist()
    [0.0, 0.5, 0.0]
    """
    check_decoder(estimator, X)
    names = channel_names(estimator, X)
    if regions is None:
        members = [[k] for k in range(len(names))]
    else:
        unknown = [name for region in regions.values() for name in region if name not in names]
        if unknown:
            raise UsageError(f"There is no channel {unknown[0]!r} to take away; the windows have {', '.join(names)}.")
        members = [[names.index(name) for name in region] for region in regions.values()]
    means = np.asarray(X).mean(axis=(0, 2), dtype=np.float64)

    def change(rows: list[int]) -> Change:
        def apply(windows: ndarray, source: ndarray) -> None:
            windows[:, rows] = means[rows, None] if replace == "remove" else source[:, rows]

        return apply

    parts = np.asarray(names if regions is None else list(regions), dtype=object)
    changes = [change(rows) for rows in members]
    return _occlude(estimator, X, y, "channel", parts, changes, groups, replace, n_repeats, random_state, progress)


def occlude_times(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
    n_stretches: int = N_STRETCHES,
    replace: str = "shuffle",
    n_repeats: int = N_REPEATS,
    random_state: int = 0,
    progress: bool | None = None,
) -> Occlusion:
    """What the decoder loses without every stretch of time; see `occlude_channels` for the arguments."""
    check_decoder(estimator, X)
    edges = stretches(X.shape[2], n_stretches)
    times = sample_times(X, sampling_rate(estimator, X))
    means = np.asarray(X).mean(axis=(0, 2), dtype=np.float64)[:, None]

    def change(low: int, high: int) -> Change:
        def apply(windows: ndarray, source: ndarray) -> None:
            windows[..., low:high] = means if replace == "remove" else source[..., low:high]

        return apply

    parts = np.array([float(times[low:high].mean()) for low, high in edges])
    changes = [change(low, high) for low, high in edges]
    return _occlude(estimator, X, y, "time", parts, changes, groups, replace, n_repeats, random_state, progress)


def occlude_bands(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
    bands: Bands | None = None,
    replace: str = "shuffle",
    n_repeats: int = N_REPEATS,
    random_state: int = 0,
    progress: bool | None = None,
) -> Occlusion:
    """What the decoder loses without every frequency band (see `covering_bands`); `occlude_channels` has the other arguments.

    Raises
    ------
    UsageError
        If nobody knows the sampling rate.
    """
    check_decoder(estimator, X)
    sfreq = sampling_rate(estimator, X)
    if sfreq is None:
        raise UsageError("These windows do not know their sampling rate, so they have no bands; pass labelled windows.")
    bands = resolved_bands(X.shape[2], sfreq, bands)
    members = band_members(X.shape[2], sfreq, bands)

    def change(row: ndarray) -> Change:
        def apply(windows: ndarray, source: ndarray) -> None:
            windows -= band_part(windows, row)
            if replace == "shuffle":
                windows += band_part(source, row)

        return apply

    parts = np.asarray(list(bands), dtype=object)
    changes = [change(row) for row in members]
    return _occlude(estimator, X, y, "band", parts, changes, groups, replace, n_repeats, random_state, progress)


def _occlude(
    estimator: Any,
    X: Any,
    y: Any,
    kind: str,
    parts: ndarray,
    changes: Sequence[Change],
    groups: Any,
    replace: str,
    n_repeats: int,
    random_state: int,
    progress: bool | None,
) -> Occlusion:
    if replace not in WAYS:
        raise UsageError(f"What is taken away is replaced by 'shuffle' or 'remove', got {replace!r}.")
    if n_repeats < 1:
        raise UsageError(f"Parts are exchanged once or more, got n_repeats={n_repeats}.")
    if replace == "shuffle" and len(X) < 2:
        raise UsageError("One window has no other to exchange parts with; pass more windows, or replace='remove'.")
    n_repeats = n_repeats if replace == "shuffle" else 1
    windows = np.asarray(X, dtype=np.float64)
    rng = np.random.default_rng(random_state)
    within = coordinate(X, "subject") if groups is None else np.asarray(groups)
    before, codes = probabilities(estimator, X, groups), codes_of(estimator, X, y, groups)
    after = np.empty((n_repeats, len(changes), *before.shape))
    with bar(f"taking away {kind}s", n_repeats * len(changes), progress) as advance:
        for repeat in range(n_repeats):
            source = windows[partners(len(windows), within, rng)]
            for k, change in enumerate(changes):
                changed = windows.copy()
                change(changed, source)
                after[repeat, k] = probabilities(estimator, replaced(X, changed), groups)
                advance(str(parts[k]), 1)
    return Occlusion(kind, parts, class_coordinate(estimator), codes, before, after, replace)
