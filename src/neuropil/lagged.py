"""Windows of one signal before the samples of a slower one: the EEG of the last seconds and the fMRI volume that follows.

Volume k at time t gets the window [t - length, t); nothing after the volume's trigger is used. Windows are lazy, as all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float32
from numpy import ndarray

from neuropil.errors import DataError, UsageError
from neuropil.recording import Recording
from neuropil.signal.bold import scale_bold, scale_bold_causally
from neuropil.streams import stream_bounds
from neuropil.windowing import cut

MIN_VOLUMES = 30
PREFIX = "bold:"
SCALINGS = ("scan", "causal", "none")


def make_lagged_epochs(
    recordings: Recording | Sequence[Recording],
    *,
    window: float = 16.0,
    stream: str | None = None,
    target: str = "bold",
    onsets: Any = None,
    scaling: str = "scan",
    train_share: float = 0.8,
) -> xr.DataArray:
    """One window of EEG before every fMRI volume, with the volume's regions as targets.

    Parameters
    ----------
    recordings : Recording or sequence of Recording
        One a scan, with the same channels, rate and regions.
    window : float, default 16.0
        Seconds before the volume.
    stream : str, optional
        Stream of the EEG; the first regular one without.
    target : str, default "bold"
        Stream of the regions, (time, channel).
    onsets : sequence of float, or one for every recording, optional
        Times of the volumes in s on the clock of the EEG; those of the target stream without.
    scaling : {"scan", "causal", "none"}
        Of the targets: `neuropil.signal.bold.scale_bold` over the whole scan, as the field does; `scale_bold_causally`, which uses the
        past and the first `train_share` of the volumes only; or not at all.
    train_share : float, default 0.8
        For "causal".

    Returns
    -------
    DataArray of shape (n_windows, n_channels, n_times)
        Lazy; coordinates `bold:<region>` (the targets, see `targets`), `onset` (time of the volume in s), `volume` (its number), and
        subject, session, recording.

    Raises
    ------
    DataError
        If EEG and volumes do not overlap in time, times do not increase, or too few volumes have a whole window before them.

    Examples
    --------
    >>> from neuropil.streams import regular_stream
    >>> rng = np.random.default_rng(0)
    >>> eeg = regular_stream(rng.normal(size=(6400, 2)), 64.0, channels=["C3", "C4"], unit="uV")
    >>> bold = regular_stream(rng.normal(size=(50, 3)), 0.5, channels=["a", "b", "c"], kind="bold", unit="z", modality="fmri")
    >>> X = make_lagged_epochs(Recording({"eeg": eeg, "bold": bold}))
    >>> names, y = targets(X)
    >>> X.shape, names, y.shape, X["onset"].values[:2].tolist()
    ((42, 2, 1024), ['a', 'b', 'c'], (42, 3), [16.0, 18.0])
    """
    recordings = [recordings] if isinstance(recordings, Recording) else list(recordings)
    if not recordings:
        raise DataError("Expected one recording or more to cut windows from, got none.")
    if scaling not in SCALINGS:
        raise UsageError(f"The scaling is one of {', '.join(SCALINGS)}, got {scaling!r}.")
    if not window > 0 or not 0 < train_share <= 1:
        raise UsageError(
            f"A window needs a positive length and train_share must lie in (0, 1], got {window} s and {train_share}."
        )
    times_of = [None] * len(recordings) if onsets is None else [onsets] if len(recordings) == 1 else list(onsets)
    if len(recordings) == 1 and onsets is not None and np.ndim(onsets) == 2:
        times_of = list(onsets)
    if len(times_of) != len(recordings):
        raise UsageError(f"Expected onsets for each of the {len(recordings)} recordings, got {len(times_of)}.")
    parts = [
        _volumes(recording, k, window, stream, target, times, scaling, train_share)
        for k, (recording, times) in enumerate(zip(recordings, times_of, strict=True))
    ]
    regions = parts[0]["regions"]
    for k, part in enumerate(parts):
        if part["regions"] != regions:
            raise DataError(
                f"All recordings need the same regions in the same order, recording {k} has {', '.join(part['regions'][:4])} ..., the "
                f"first {', '.join(regions[:4])} ...; select common regions."
            )
    columns = {name: np.concatenate([part[name] for part in parts]) for name in ("starts", "onset", "volume", "target")}
    source = np.repeat(np.arange(len(parts)), [len(part["starts"]) for part in parts])
    sfreq = float(recordings[0].stream(stream).attrs["sfreq"])
    coords = {"onset": columns["onset"], "volume": columns["volume"]}
    X = cut(recordings, stream, source, columns["starts"], round(window * sfreq), coords, tmin=-window)
    courses = {PREFIX + name: ("window", course) for name, course in zip(regions, columns["target"].T, strict=True)}
    return X.assign_coords(courses)


def targets(X: xr.DataArray) -> tuple[list[str], Float32[ndarray, "window region"]]:
    """Names of the regions and their values at every window from `make_lagged_epochs`; no name for other windows."""
    names = [str(name).removeprefix(PREFIX) for name in X.coords if str(name).startswith(PREFIX)]
    values = [X[PREFIX + name].values for name in names]
    return names, np.stack(values, axis=1) if values else np.zeros((X.shape[0], 0), dtype=np.float32)


def _volumes(
    recording: Recording,
    number: int,
    window: float,
    stream: str | None,
    target: str,
    onsets: Any,
    scaling: str,
    train_share: float,
) -> dict[str, Any]:
    """Where the windows of one scan start, and what follows them."""
    if target not in recording.streams:
        raise DataError(
            f"Recording {number} has no stream {target!r} with the regions, it has {', '.join(recording.streams) or 'none'}; "
            "load scans with neuropil.datasets.eeg_fmri.load_eeg_fmri or name the stream."
        )
    eeg, bold = recording.stream(stream), recording.stream(target)
    if bold.ndim != 2:
        raise DataError(f"Regions must have the dims (time, channel), got {bold.dims}.")
    times = np.asarray(bold["time"].values if onsets is None else onsets, dtype=float)
    if len(times) != bold.sizes["time"]:
        raise DataError(
            f"Expected one onset for each of the {bold.sizes['time']} volumes of recording {number}, got {len(times)}."
        )
    if len(times) < MIN_VOLUMES:
        raise DataError(f"A scan needs at least {MIN_VOLUMES} volumes, recording {number} has {len(times)}.")
    backwards = np.flatnonzero(~(np.diff(times) > 0))
    if len(backwards):
        k = int(backwards[0])
        raise DataError(
            f"The times of the volumes must increase, volume {k + 1} of recording {number} comes at {times[k + 1]:g} s after volume {k} "
            f"at {times[k]:g} s; sort or repair the triggers."
        )
    begin, end = stream_bounds(eeg)
    if times[0] > end or times[-1] < begin:
        raise DataError(
            f"EEG and fMRI of recording {number} do not overlap in time: the EEG lasts from {begin:g} to {end:g} s, the volumes from "
            f"{times[0]:g} to {times[-1]:g} s; give both on one clock."
        )
    sfreq, tr = float(eeg.attrs["sfreq"]), float(np.median(np.diff(times)))
    values = np.asarray(bold.values, dtype=float)
    if scaling != "none":
        n_train = max(2, round(train_share * len(values)))
        scale = scale_bold if scaling == "scan" else partial(scale_bold_causally, n_train=n_train)
        values = scale(values, tr)
    n_times = round(window * sfreq)
    starts = np.rint((times - begin) * sfreq).astype(np.int64) - n_times
    whole = (starts >= 0) & (starts + n_times <= eeg.sizes["time"])
    if whole.sum() < MIN_VOLUMES:
        raise DataError(
            f"At least {MIN_VOLUMES} volumes need {window:g} s of EEG before them, recording {number} has {int(whole.sum())} such volumes "
            f"of {len(times)}; record longer, or take a shorter window."
        )
    regions = [str(name) for name in bold["channel"].values] if "channel" in bold.coords else []
    regions = regions or [f"region_{k + 1}" for k in range(values.shape[1])]
    return {
        "starts": starts[whole],
        "onset": times[whole],
        "volume": np.flatnonzero(whole),
        "target": values[whole].astype(np.float32),
        "regions": regions,
    }
