"""One answer to "what does this decoder use?": patterns, occlusion, gradients, attention and a sanity check, with figures."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy import ndarray

from neuropil.errors import DataError, UsageError
from neuropil.explain.asking import (
    channel_names,
    check_decoder,
    class_coordinate,
    codes_of,
    sampling_rate,
    signature_of,
)
from neuropil.explain.attention import attention_maps, has_attention
from neuropil.explain.bands import Bands
from neuropil.explain.occlusion import N_REPEATS, occlude_bands, occlude_channels, occlude_times
from neuropil.explain.panels import panels
from neuropil.explain.patterns import N_STRETCHES, decoder_patterns, output_patterns
from neuropil.explain.plots import Panel, new_figure
from neuropil.explain.saliency import N_STEPS, network_of, network_saliency
from neuropil.explain.sanity import SanityCheck, check_sanity
from neuropil.progress import bar
from neuropil.signature import Signature, check_windows
from neuropil.storage import atomic_write_bytes, atomic_write_text

MAX_WINDOWS = 200
IMAGES = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Explanation:
    """What a decoder uses; every array is labelled, in units that its attribute `unit` names.

    Attributes
    ----------
    decoder : str
        Its class.
    classes, channels : tuple of str
    n_windows : int
        Windows that were looked at.
    patterns : Dataset
        See `output_patterns`.
    components : DataArray or None
        A linear decoder's own activation patterns, see `decoder_patterns`.
    electrodes, times, bands : Dataset
        What is lost without each, see `Occlusion.to_dataset`; `bands` is None without a sampling rate.
    temporal, spectral : DataArray or None
        Integrated gradients of a network, (class, channel, time) and (class, channel, band), in nats of the log-odds.
    completeness_error : float or None
        Relative, of the integrated gradients.
    attention : dict of str to DataArray
        See `attention_maps`; empty for decoders without attention.
    sanity : SanityCheck or None
    positions : ndarray of shape (n_channels, 3) or None
        Places of the electrodes in m.
    kinds : tuple of str
        Sorts of the channels, if known.
    notes : tuple of str
        What a reader has to know: what could not be done, and why.
    """

    decoder: str
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    n_windows: int
    patterns: xr.Dataset
    components: xr.DataArray | None
    electrodes: xr.Dataset
    times: xr.Dataset
    bands: xr.Dataset | None
    temporal: xr.DataArray | None
    spectral: xr.DataArray | None
    completeness_error: float | None
    attention: dict[str, xr.DataArray] = field(default_factory=dict)
    sanity: SanityCheck | None = None
    positions: ndarray | None = None
    kinds: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def most_missed(self, n: int = 3) -> list[tuple[str, str, str]]:
        """Rows of a table: the electrodes, stretches of time and bands without which the right class loses most, with the loss."""
        rows = []
        for kind, name, lost in (
            ("electrode", "channel", self.electrodes),
            ("time", "time", self.times),
            ("band", "band", self.bands),
        ):
            if lost is None:
                continue
            falls = lost["probability"]
            for k in np.argsort(-falls.values, kind="stable")[:n]:
                part = falls[name].values[k]
                rows.append((kind, f"{part:.2f} s" if kind == "time" else str(part), f"{float(falls[k]):+.3f}"))
        return rows

    def panels(self) -> list[Panel]:
        """The drawings, in order, each with its caption."""
        return panels(self)

    def figures(self) -> dict[str, Any]:
        """Matplotlib figures by name: "patterns", "electrodes", "time", "spectrum", and where there are such, "attention", "sanity" ..."""
        found = {}
        for panel in self.panels():
            figure = new_figure(*panel.size)
            figure.set_layout_engine("constrained")
            panel.draw(figure)
            found[panel.name] = figure
        return found

    def plot(self, path: str | Path) -> Path:
        """Write all drawings to one file: a page (.html) with captions, or an image (.png, .svg, .pdf).

        Raises
        ------
        UsageError
            If the ending is another one.
        """
        path = Path(path)
        if path.suffix.lower() == ".html":
            from neuropil.explain.page import render

            return atomic_write_text(path, render(self))
        check_ending(path)
        parts = self.panels()
        height = sum(panel.size[1] + 0.3 for panel in parts)
        figure = new_figure(max(panel.size[0] for panel in parts), height, dpi=110)
        figure.set_layout_engine("constrained")
        rows = figure.subfigures(len(parts), 1, height_ratios=[panel.size[1] + 0.3 for panel in parts], squeeze=False)
        for panel, part in zip(parts, rows[:, 0], strict=True):
            panel.draw(part)
            part.suptitle(panel.title, fontsize=10, x=0.01, ha="left")
        buffer = io.BytesIO()
        figure.savefig(buffer, format=path.suffix[1:].lower(), facecolor="white")
        return atomic_write_bytes(path, buffer.getvalue())

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values; arrays as {"dims", "coords", "values", "unit"}."""
        arrays = {
            "components": self.components,
            "temporal": self.temporal,
            "spectral": self.spectral,
            **{f"attention {name}": values for name, values in self.attention.items()},
        }
        for group in ("patterns", "electrodes", "times", "bands"):
            dataset = getattr(self, group)
            if dataset is not None:
                arrays |= {f"{group} {name}": values for name, values in dataset.data_vars.items()}
        return {
            "decoder": self.decoder,
            "classes": list(self.classes),
            "channels": list(self.channels),
            "n_windows": self.n_windows,
            "accuracy": float(self.electrodes.attrs["accuracy"]),
            "completeness_error": self.completeness_error,
            "sanity": None if self.sanity is None else self.sanity.to_json(),
            "notes": list(self.notes),
            "arrays": {name: _plain(values) for name, values in arrays.items() if values is not None},
        }


def check_ending(path: str | Path) -> None:
    """Refuse a file that could not be drawn into, before work is lost.

    Raises
    ------
    UsageError
        If its ending is neither .html nor that of an image.
    """
    if Path(path).suffix.lower() not in (".html", *IMAGES):
        raise UsageError(
            f"An explanation is written as .html, {', '.join(IMAGES)}, got {Path(path).name!r}; change the ending."
        )


def _plain(values: xr.DataArray) -> dict[str, Any]:
    coords = {str(d): values[d].values.tolist() for d in values.dims if d in values.coords}
    return {
        "dims": [str(d) for d in values.dims],
        "coords": coords,
        "values": values.values.tolist(),
        "unit": str(values.attrs.get("unit", "")),
    }


def explain(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
    bands: Bands | None = None,
    n_stretches: int = N_STRETCHES,
    replace: str = "shuffle",
    n_repeats: int = N_REPEATS,
    baseline: str = "windows",
    n_steps: int = N_STEPS,
    max_windows: int | None = MAX_WINDOWS,
    sanity: bool = False,
    split: Any = None,
    random_state: int = 0,
    progress: bool | None = None,
) -> Explanation:
    """Explain a fitted classifier by the windows that it is shown; best windows that it was not fitted on.

    Parameters
    ----------
    estimator : classifier
        Fitted; any one with `predict_proba` or `predict`, also in a pipeline. Gradients are added for networks, attention for those that
        show theirs.
    X : DataArray or ndarray of shape (n_windows, n_channels, n_times)
    y : array-like of shape (n_windows,), optional
        Labels; the coordinate `label`, or else what the decoder predicts.
    groups : array-like of shape (n_windows,), optional
        Subjects, for decoders that align them; the coordinate `subject` without.
    bands : mapping of name to (low, high) in Hz, optional
        Frequency bands; the bands of EEG without gaps by default.
    n_stretches : int, default 8
        Stretches of time for patterns and occlusion.
    replace : {"shuffle", "remove"}
        How parts are taken away, see `neuropil.explain.occlusion`.
    n_repeats : int
        Exchanges of every part.
    baseline : {"windows", "zero", "mean"}
        From where integrated gradients lead to a window, see `network_saliency`; other windows by default, which show what tells the
        windows of a class from the rest.
    n_steps : int
        Gradients along that path.
    max_windows : int or None, default 200
        Look at no more windows than that, spread evenly over those given.
    sanity : bool, default False
        Fit the decoder again on true and on shuffled labels, see `check_sanity`; needs labels and takes several fits. All windows take
        part.
    split : splitter or (train, test), optional
        For the sanity check.
    random_state : int
    progress : bool, optional

    Returns
    -------
    Explanation

    Raises
    ------
    UsageError, DataError
        If the estimator is no fitted classifier, or the windows are not such as it was fitted on.

    Examples
    --------
    >>> from neuropil.decoding import make
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["left", "right"], 30)
    >>> X = rng.normal(size=(60, 3, 64)) + (y == "right")[:, None, None] * np.array([[0.0], [2.0], [0.0]])
    >>> found = explain(make("binned-lda").fit(X, y), X, y)
    >>> found.electrodes["accuracy"].round(1).values.tolist()
    [0.0, 0.5, 0.0]
    """
    check_decoder(estimator, X)
    chosen = _spread(len(X), max_windows)
    notes = []
    if len(chosen) < len(X):
        notes.append(f"{len(chosen)} of {len(X)} windows were looked at, evenly spread.")
    few, labels = X[chosen], None if y is None else np.asarray(y)[chosen]
    if isinstance(few, xr.DataArray):
        few = few.drop_vars("mask", errors="ignore").load()
    check_windows(np.asarray(few), fitting=False, names=tuple(channel_names(estimator, few)))
    part = None if groups is None else np.asarray(groups)[chosen]
    codes = codes_of(estimator, few, labels, part)
    labels = np.asarray(estimator.classes_)[codes]
    if y is None and not _has_labels(few, labels):
        notes.append(
            "The windows have no labels of the decoder's classes; every window is explained for the class predicted."
        )
    common: dict[str, Any] = {
        "groups": part,
        "replace": replace,
        "n_repeats": n_repeats,
        "random_state": random_state,
        "progress": False,
    }
    network = network_of(estimator) is not None
    saliency = None
    with bar(f"explaining {type(estimator).__name__}", 5 + network, progress) as advance:
        patterns = output_patterns(estimator, few, groups=part, n_stretches=n_stretches, bands=bands)
        components = decoder_patterns(estimator, few)
        advance("patterns", 1)
        electrodes = occlude_channels(estimator, few, labels, **common)
        advance("electrodes", 1)
        times = occlude_times(estimator, few, labels, n_stretches=n_stretches, **common)
        advance("time", 1)
        spectrum = None
        if sampling_rate(estimator, few) is not None:
            spectrum = occlude_bands(estimator, few, labels, bands=bands, **common).to_dataset()
        else:
            notes.append("Nobody knows the sampling rate of these windows, so nothing is said of frequencies.")
        advance("frequencies", 1)
        if network:
            with _noted(notes):
                saliency = network_saliency(
                    estimator,
                    few,
                    labels,
                    groups=part,
                    baseline=baseline,
                    n_steps=n_steps,
                    random_state=random_state,
                )
            advance("gradients", 1)
        attention: dict[str, xr.DataArray] = {}
        if has_attention(estimator):
            with _noted(notes):
                attention = attention_maps(estimator, few, groups=part)
        advance("attention", 1)
    if saliency is not None and not saliency.electrodes:
        notes.append(
            "The network's preparation of windows is no matrix of channels; gradients are those of the prepared windows."
        )
    signature = signature_of(estimator)
    described = Signature.of(few) if isinstance(few, xr.DataArray) else signature
    positions = next((s.positions for s in (described, signature) if s is not None and s.positions), None)
    if positions is None:
        notes.append(
            "The places of the channels are not known for all, so they are drawn as bars instead of on a head."
        )
    checked = None
    if sanity:
        checked = check_sanity(
            estimator,
            X,
            y,
            groups=groups,
            split=split,
            n_repeats=n_repeats,
            random_state=random_state,
            progress=progress,
        )
    in_time = saliency is not None and saliency.sfreq is not None
    return Explanation(
        decoder=type(estimator).__name__,
        classes=tuple(class_coordinate(estimator).tolist()),
        channels=tuple(channel_names(estimator, few)),
        n_windows=len(few),
        patterns=patterns,
        components=components,
        electrodes=electrodes.to_dataset(),
        times=times.to_dataset(),
        bands=spectrum,
        temporal=None if saliency is None else saliency.temporal().assign_attrs(baseline=baseline),
        spectral=saliency.spectral(bands) if saliency is not None and in_time else None,
        completeness_error=None if saliency is None else saliency.error,
        attention=attention,
        sanity=checked,
        positions=None if positions is None else np.asarray(positions),
        kinds=tuple(described.kinds or ()) if described is not None else (),
        notes=tuple(notes),
    )


def _spread(n_windows: int, max_windows: int | None) -> ndarray:
    """Windows to look at, in order, evenly spread."""
    if max_windows is not None and max_windows < 2:
        raise UsageError(f"An explanation needs two windows or more, got max_windows={max_windows}.")
    if n_windows < 2:
        raise DataError("An explanation compares windows and needs two or more, got one.")
    if max_windows is None or n_windows <= max_windows:
        return np.arange(n_windows)
    return np.linspace(0, n_windows - 1, max_windows).round().astype(int)


def _has_labels(X: Any, labels: ndarray) -> bool:
    """Whether the windows' own labels are those that they are explained for."""
    return (
        isinstance(X, xr.DataArray)
        and "label" in X.coords
        and bool((X["label"].values.astype(str) == labels.astype(str)).all())
    )


@contextmanager
def _noted(notes: list[str]) -> Iterator[None]:
    """What a decoder does not offer is noted; the rest of the explanation goes on."""
    try:
        yield
    except UsageError as error:
        notes.append(str(error))
