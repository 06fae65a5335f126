"""What windows are: the signature an estimator remembers of them, and the checks that every estimator makes of them.

One place, so that bad data get the same sentence everywhere.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy import ndarray
from sklearn.utils.multiclass import check_classification_targets

from neuropil.errors import DataError


@dataclass(frozen=True)
class Signature:
    """What an estimator was fitted on, and will ask for again.

    Parameters
    ----------
    n_channels, n_times : int
        Shape of a window; `n_times` is None for 2-D tables.
    sfreq : float or None
        Sampling rate in Hz, where known.
    ch_names, kinds : tuple of str or None
        Names and sorts of the channels in order, where known.
    positions : tuple of (x, y, z) or None
        Sensor positions in metres, where all are known.
    classes : tuple or None
        Class labels in order, for classifiers.
    """

    n_channels: int
    n_times: int | None = None
    sfreq: float | None = None
    ch_names: tuple[str, ...] | None = None
    kinds: tuple[str, ...] | None = None
    positions: tuple[tuple[float, float, float], ...] | None = None
    classes: tuple[Any, ...] | None = None

    def _persistent_state(self) -> dict[str, Any]:
        return asdict(self)

    def _restore_state(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, X: Any, classes: tuple[Any, ...] | None = None) -> Signature:
        """The signature of windows, labelled or not."""
        n_channels, n_times = X.shape[1], X.shape[2] if len(X.shape) > 2 else None
        if not isinstance(X, xr.DataArray):
            return cls(n_channels, n_times, classes=classes)
        sfreq = X.attrs.get("sfreq")
        return cls(
            n_channels,
            n_times,
            None if sfreq is None else float(sfreq),
            tuple(map(str, X["channel"].values)) if "channel" in X.coords else None,
            tuple(map(str, X["kind"].values)) if "kind" in X.coords else None,
            _positions(X),
            classes,
        )

    def check(self, X: Any) -> None:
        """Refuse, in one sentence, windows that differ from what the estimator was fitted on."""
        other = Signature.of(X)
        if self.ch_names and other.ch_names and self.ch_names != other.ch_names:
            raise DataError(_channel_difference(self.ch_names, other.ch_names))
        if other.n_channels != self.n_channels:
            raise DataError(
                f"The estimator was fitted on {self.n_channels} channels, got {other.n_channels}; select the same channels."
            )
        if self.sfreq and other.sfreq and self.sfreq != other.sfreq:
            raise DataError(
                f"The estimator was fitted at {self.sfreq:g} Hz, got {other.sfreq:g} Hz; resample the recording first."
            )
        if other.n_times != self.n_times:
            raise DataError(
                f"The estimator was fitted on windows of {self.n_times} samples, got {other.n_times}; cut windows of the same length."
            )


def _positions(X: xr.DataArray) -> tuple[tuple[float, float, float], ...] | None:
    if not all(axis in X.coords for axis in "xyz"):
        return None
    xyz = np.stack([X[axis].values for axis in "xyz"], axis=1)
    return tuple((float(a), float(b), float(c)) for a, b, c in xyz) if np.isfinite(xyz).all() else None


def _channel_difference(expected: tuple[str, ...], got: tuple[str, ...]) -> str:
    if sorted(expected) == sorted(got):
        where = next(k for k, (a, b) in enumerate(zip(expected, got, strict=True)) if a != b)
        return (
            f"The estimator was fitted on channels in another order (channel {where} was {expected[where]}, is {got[where]}); "
            "reorder with X.sel(channel=[...])."
        )
    missing = [name for name in expected if name not in got]
    extra = [name for name in got if name not in expected]
    parts = [
        f"{what} {', '.join(names[:5])}{' …' if len(names) > 5 else ''}"
        for what, names in (("lacks", missing), ("adds", extra))
        if names
    ]
    sizes = f"{len(expected)} channels, this recording has {len(got)}"
    return f"The estimator was fitted on {sizes}: it {' and '.join(parts)}; select the same channels."


def coordinate(X: Any, name: str) -> ndarray | None:
    """A per-window coordinate of labelled windows, or None."""
    return X[name].values if isinstance(X, xr.DataArray) and name in X.coords else None


def check_labels(y: Any, n_windows: int) -> ndarray:
    """Class labels, one a window, of one sort and at least two classes.

    Raises
    ------
    DataError
        Otherwise, in one sentence.
    """
    values = np.asarray(y) if not isinstance(y, list | tuple) else np.asarray(y, dtype=object)
    if values.ndim == 2 and values.shape[1] == 1:
        from sklearn.exceptions import DataConversionWarning

        warnings.warn("A column-vector y was passed when a 1d array was expected.", DataConversionWarning, stacklevel=2)
        values = values[:, 0]
    if values.ndim != 1 or len(values) != n_windows:
        raise DataError(f"Expected one label for each of the {n_windows} windows, got labels of shape {values.shape}.")
    if values.dtype == object:
        sorts = {_sort_of_label(v) for v in values.tolist()}
        if len(sorts) > 1:
            raise DataError(
                f"Labels must be of one type, got {' and '.join(sorted(sorts))} mixed; convert them, for example to str."
            )
        values = np.asarray(values.tolist())
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError(
            f"Labels must be known for every window, got {int((~np.isfinite(values)).sum())} that are NaN or infinite."
        )
    check_classification_targets(values)
    if len(np.unique(values)) < 2:
        raise DataError(
            f"A classifier needs windows of at least two classes, got only one class ({values[0]!r}); check labels and split."
        )
    return values


def _sort_of_label(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "missing values"
    if isinstance(value, bool | np.bool_):
        return "booleans"
    return (
        "numbers"
        if isinstance(value, int | float | np.number)
        else "strings"
        if isinstance(value, str)
        else type(value).__name__
    )


def check_windows(X: ndarray, *, fitting: bool, names: tuple[str, ...] | None = None) -> None:
    """Refuse windows that are not finite and, when fitting, channels that never change."""
    if X.dtype.kind not in "fiub":
        raise DataError(f"Windows must hold real numbers, got dtype {X.dtype}.")
    if X.dtype.kind == "f":
        bad = ~np.isfinite(X.min(axis=-1, initial=0) + X.max(axis=-1, initial=0))
        if bad.any():
            window, channel = (int(k[0]) for k in np.nonzero(bad))
            raise DataError(
                f"Expected finite samples, got NaN or infinity in {int(bad.any(axis=1).sum())} of {len(X)} windows "
                f"(first: window {window}, channel {names[channel] if names else channel}); interpolate or leave out these windows."
            )
    if fitting and X.shape[-1] > 1:
        constant = np.flatnonzero((X.max(axis=-1) == X.min(axis=-1)).all(axis=0))
        if len(constant):
            which = ", ".join(str(names[k]) if names else str(k) for k in constant[:5])
            raise DataError(
                f"Every channel must vary, channel {which} is constant in all {len(X)} windows; leave it out or mark it bad."
            )
