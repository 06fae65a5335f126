"""A picture of a data set: the average of every class in every channel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy import ndarray

from neuropil.datasets.registry import information, load
from neuropil.display import COLOURS
from neuropil.errors import DataError, UsageError
from neuropil.recording import Recording

MAX_CHANNELS = 64
BATCH = 64


def class_averages(X: xr.DataArray) -> tuple[list[Any], ndarray, ndarray]:
    """Classes, and mean and standard error over the windows of each, shape (n_classes, n_channels, n_times); read batch by batch."""
    from neuropil.windowing import iter_batches

    classes, codes = np.unique(X["label"].values.astype(str), return_inverse=True)
    count = np.bincount(codes)[:, None, None]
    mean = np.zeros((len(classes), *X.shape[1:]))
    for indices, batch in iter_batches(X, BATCH):
        np.add.at(mean, codes[indices], batch)
    mean /= count
    spread = np.zeros_like(mean)
    for indices, batch in iter_batches(X, BATCH):
        np.add.at(spread, codes[indices], (batch - mean[codes[indices]]) ** 2)
    return list(classes), mean, np.sqrt(spread / np.maximum(count - 1, 1) / count)


def plot(
    name: str,
    path: str | Path,
    *,
    recordings: Recording | list[Recording] | None = None,
    channels: list[str] | None = None,
    **options: Any,
) -> Path:
    """Write a picture of the class averages (with twice their standard error) of every channel.

    Parameters
    ----------
    name : str
        Name of the data set; its title stands above the picture.
    path : path-like
        Where to write; .png, .pdf or .svg.
    recordings : Recording or list of Recording, optional
        Draw these; the data set is loaded without.
    channels : list of str, optional
        Channels to draw; the first 64 without.
    **options
        Of `load`.

    Raises
    ------
    UsageError
        If the ending of `path` is no picture's or its folder does not exist.
    DataError
        If the data set has no labelled events.
    """
    from matplotlib.figure import Figure

    from neuropil.windowing import windows

    path = Path(path)
    if path.suffix.lower() not in (".png", ".pdf", ".svg") or path.is_dir():
        raise UsageError(f"A picture's name ends in .png, .pdf or .svg, got {path}.")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"There is no folder {path.absolute().parent} to write {path.name} into; make it first.")
    title = information(name).title if recordings is None else name
    loaded = load(name, **options) if recordings is None else recordings
    first = loaded if isinstance(loaded, Recording) else loaded[0]
    events = first.events
    if not len(events) or events["duration"].min() <= 0:
        raise DataError(f"{name} has no events with a duration, so there is nothing to average.")
    X = windows(loaded)
    X = X.sel(channel=channels) if channels else X.isel(channel=slice(0, MAX_CHANNELS))
    classes, mean, error = class_averages(X)
    time = X["time"].values + float(first.info.get("tmin", 0.0))
    n_channels = X.sizes["channel"]
    columns = min(n_channels, max(2, round(np.sqrt(n_channels) * 1.2)))
    rows = int(np.ceil(n_channels / columns))
    figure = Figure(figsize=(2.6 * columns + 0.6, 1.7 * rows + 1.2), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for k, axis in enumerate(axes.ravel()):
        if k >= n_channels:
            axis.set_visible(False)
            continue
        for c, label in enumerate(classes):
            colour = COLOURS[c % len(COLOURS)]
            axis.plot(time, mean[c, k], color=colour, linewidth=1, label=label)
            low, high = mean[c, k] - 2 * error[c, k], mean[c, k] + 2 * error[c, k]
            axis.fill_between(time, low, high, color=colour, alpha=0.2, linewidth=0)
        axis.set_title(str(X["channel"].values[k]), fontsize=8, pad=2)
        axis.tick_params(labelsize=7)
    figure.suptitle(f"{title} ({X.sizes['window']} trials)", fontsize=10)
    figure.supxlabel("time (s)", fontsize=9)
    figure.supylabel(str(X.attrs.get("unit", "")), fontsize=9)
    axes[0, 0].legend(fontsize=7, loc="best", framealpha=0.6)
    figure.savefig(path, dpi=110)
    return path
