"""Muscle artefacts out of a recording with AT-AT: train or load a model, clean a file of any length, look at what was done.

Without data of the user's own, the model is trained once on simulated segments of EEG and muscle noise and kept in the user's cache.
That is a default to start with: a model trained on clean and noisy segments of the same amplifier knows better. Unlike in the paper's
experiment, training mixes reach up to 10 dB, since most of a recording is rather clean, and the transformer works wherever validation
segments lead to expect a gain.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy import ndarray

from neuropil import io
from neuropil.decoding.at_at import ATATDenoiser
from neuropil.decoding.cleaning import clean_blocks, eeg_channels
from neuropil.errors import DataError, UsageError
from neuropil.experiments.runner import single_threaded
from neuropil.persistence import load_model, save_model
from neuropil.progress import bar
from neuropil.recording import Recording
from neuropil.simulate.eeg import simulate_segments, stack_segments
from neuropil.storage import save_recording

SFREQ = 256.0
SECONDS = 2.0
N_SIMULATED = 1600
# Most of a recording is cleaner than the published mixes, which end at 2 dB, and there the transformer gains most: the pooled code of the
# autoencoder alone blurs what is fast.
USE: dict[str, Any] = {"router": "gain", "threshold": 0.0, "snr_range": (-7.0, 10.0)}
PICTURE_ENDINGS = (".png", ".pdf", ".svg")
PICTURE_SECONDS = 6.0
PICTURE_CHANNELS = 6
DEFAULT_MODEL = "at-at-simulated"


def cache_folder() -> Path:
    """Where models that were trained by default are kept: `NEUROPIL_CACHE`, else neuropil's part of the user's cache folder."""
    own = os.environ.get("NEUROPIL_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neuropil"


def simulated_segments(n: int = N_SIMULATED, seed: int = 0) -> tuple[ndarray, ndarray, ndarray]:
    """Clean EEG and muscle noise of two seconds at 256 Hz, both of shape (n, 512) in µV, and the simulated subject of every EEG segment.

    Examples
    --------
    >>> clean, noise, subjects = simulated_segments(40)
    >>> clean.shape, noise.shape, len(set(subjects.tolist()))
    ((40, 512), (40, 512), 2)
    """
    (recordings, _), (artefacts, _) = (
        simulate_segments(kind, n=n, sfreq=SFREQ, seed=seed, seconds=SECONDS) for kind in ("eeg", "emg")
    )
    subjects = np.concatenate([[recording.subject] * len(recording.events) for recording in recordings])
    return stack_segments(recordings), stack_segments(artefacts), subjects


def load_segments(path: str | Path) -> ndarray:
    """Segments of the user's own from a .npy file, shape (n, n_times) or (n, n_channels, n_times).

    Raises
    ------
    FileNotFoundError, DataError
        If there is no such file, or it holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected a .npy file of segments at {path}, found nothing there; check the path.")
    try:
        segments = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(
            f"{path} is truncated or no .npy file of numbers; save the segments with numpy.save()."
        ) from error
    if not isinstance(segments, ndarray) or segments.ndim not in (2, 3) or segments.dtype.kind not in "fiu":
        raise DataError(f"Expected segments of shape (n, n_times) or (n, n_channels, n_times) in {path}.")
    return segments


def obtain_model(
    model: str | Path | None = None,
    *,
    clean: str | Path | None = None,
    noise: str | Path | None = None,
    sfreq: float = SFREQ,
    epochs: int | None = None,
    save: str | Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> tuple[ATATDenoiser, str]:
    """A trained denoiser and where it comes from: loaded, trained on the user's segments, or the cached one for simulated segments.

    Parameters
    ----------
    model : path-like, optional
        Folder of a saved denoiser.
    clean, noise : path-like, optional
        .npy files of clean segments and of artefacts, at `sfreq`.
    sfreq : float
        Sampling rate of those segments in Hz.
    epochs : int, optional
        Epochs of each phase of the training; the denoiser's own default without.
    save : path-like, optional
        Folder to keep the model in.
    seed : int
    overwrite : bool
        Replace what is at `save`.

    Raises
    ------
    UsageError, DataError
        If arguments contradict each other, or `save` is there already; before any work.
    """
    if (clean is None) != (noise is None):
        raise UsageError("Training needs both clean segments and noise (--clean and --noise), got only one of them.")
    if model is not None and (clean is not None or epochs is not None):
        raise UsageError("Either load a model or train one: --model goes with neither --clean, --noise nor --epochs.")
    if save is not None and Path(save).exists() and not overwrite:
        raise DataError(f"{save} exists already; choose another name or pass --overwrite.")
    if model is not None:
        loaded = load_model(model)
        if not isinstance(loaded, ATATDenoiser):
            raise UsageError(
                f"{model} holds a {type(loaded).__name__}, not an ATATDenoiser; train one with `neuropil clean`."
            )
        denoiser, origin = loaded, f"the model in {model}"
    elif clean is not None and noise is not None:
        x, n = load_segments(clean), load_segments(noise)
        denoiser = train_model(x, n, sfreq=sfreq, epochs=epochs, seed=seed)
        origin = f"trained on {len(x)} clean and {len(n)} noise segments of {clean} and {noise}"
    else:
        denoiser, origin = _default_model(epochs, seed)
    if save is not None:
        save_model(denoiser, save, overwrite=overwrite, extra={"origin": origin})
    return denoiser, origin


def train_model(
    clean: ndarray,
    noise: ndarray,
    groups: ndarray | None = None,
    *,
    sfreq: float = SFREQ,
    epochs: int | None = None,
    save: str | Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> ATATDenoiser:
    """AT-AT for use, trained on mixes from -7 to 10 dB with routing by expected gain, and kept in `save` where that is given."""
    if save is not None and Path(save).exists() and not overwrite:
        raise DataError(f"{save} exists already; choose another name or pass --overwrite.")
    options: dict[str, Any] = USE if epochs is None else {**USE, "max_epochs": epochs}
    denoiser = ATATDenoiser(segment_length=clean.shape[-1], sfreq=sfreq, random_state=seed, **options)
    with single_threaded():  # the networks are so small that threads would wait for each other most of the time
        denoiser.fit(clean, noise, groups)
    if save is not None:
        save_model(denoiser, save, overwrite=overwrite)
    return denoiser


def _default_model(epochs: int | None, seed: int) -> tuple[ATATDenoiser, str]:
    from neuropil import __version__

    name = f"{DEFAULT_MODEL}-{__version__}-{seed}" + ("" if epochs is None else f"-{epochs}")
    kept = cache_folder() / name
    origin = f"trained on {N_SIMULATED} simulated segments of EEG and of muscle noise"
    if kept.is_dir():
        return load_model(kept), f"{origin} (kept in {kept})"
    clean, noise, subjects = simulated_segments(seed=seed)
    denoiser = train_model(clean, noise, subjects, epochs=epochs, save=kept, seed=seed, overwrite=True)
    return denoiser, f"{origin} (kept in {kept})"


class _Account:
    """What was done to every channel, and where the noisiest stretch is, in memory that does not grow."""

    def __init__(self, denoiser: ATATDenoiser, n_channels: int) -> None:
        self.denoiser = denoiser
        self.proxy, self.routed = np.zeros(n_channels), np.zeros(n_channels)
        self.n_segments, self.worst, self.worst_proxy = 0, 0, np.inf
        self.advance: Any = lambda text, steps: None

    def __call__(self, segments: ndarray) -> ndarray:
        done = self.denoiser.denoise(segments)
        self.proxy += done.noise_proxy.sum(axis=0)
        self.routed += done.routed.sum(axis=0)
        means = done.noise_proxy.mean(axis=1)
        if means.min() < self.worst_proxy:
            self.worst_proxy, self.worst = float(means.min()), self.n_segments + int(means.argmin())
        self.n_segments += len(segments)
        self.advance("", len(segments))
        return done.cleaned


def clean_file(
    source: str | Path,
    output: str | Path,
    denoiser: ATATDenoiser,
    *,
    origin: str = "",
    stream: str | None = None,
    picture: str | Path | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Clean the EEG channels of a recording and write it as a neuropil recording, whole or not at all.

    Samples are read, cleaned and written block by block. Channels that are no EEG or marked bad, other streams and the events stay as they
    are. A recording at another rate than the denoiser's is resampled for the cleaning and back.

    Parameters
    ----------
    source : path-like
        A recording of any format that `neuropil.open` reads.
    output : path-like
        Folder of the cleaned recording (Zarr).
    denoiser : ATATDenoiser
        Fitted.
    origin : str
        Where the denoiser comes from, for the record.
    stream : str, optional
        The first regular stream without.
    picture : path-like, optional
        Where to draw the noisiest stretch before and after (.png, .pdf or .svg).
    overwrite : bool

    Returns
    -------
    dict
        `recording`, `output`, `stream`, `seconds`, `sfreq`, `model_sfreq`, `model`, `threshold`, `took` and `channels`: for every channel
        its `channel`, mean `noise_proxy` and `routed` share.
    """
    check_output(output, picture, overwrite=overwrite)
    recording = io.open(source)
    chosen = recording.stream(stream)
    name = next(key for key, value in recording.streams.items() if value is chosen)
    cleanable = eeg_channels(chosen)
    sfreq, n_times = float(chosen.attrs["sfreq"]), chosen.sizes["time"]
    if not n_times:
        raise DataError(f"The stream {name!r} of {source} holds no sample; there is nothing to clean.")
    began = time.perf_counter()
    account = _Account(denoiser, int(cleanable.sum()))
    hop = denoiser.segment_length / 2 / denoiser.sfreq
    facts = {
        "system": "at-at",
        "model": origin,
        "threshold": float(denoiser.threshold_),
        "channels": int(cleanable.sum()),
    }
    marked = recording.copy(info={**recording.info, "cleaned": {**facts, "threshold": _finite(denoiser.threshold_)}})
    with bar("cleaning", max(1, int(n_times / sfreq / hop))) as account.advance:
        blocks = clean_blocks(account, chosen, denoiser.segment_length, denoiser.sfreq)
        save_recording(marked, output, overwrite=overwrite, samples={name: blocks})
    took = time.perf_counter() - began
    names = chosen["channel"].values[cleanable].astype(str)
    channels: list[dict[str, Any]] = [
        {"channel": str(c), "noise_proxy": float(p), "routed": float(r)}
        for c, p, r in zip(names, account.proxy / account.n_segments, account.routed / account.n_segments, strict=True)
    ]
    if picture is not None:
        order = np.argsort([row["noise_proxy"] for row in channels])[:PICTURE_CHANNELS]
        after = Recording.open(output).stream(name)
        draw_before_after(chosen, after, [str(names[k]) for k in order], account.worst * hop, picture)
    return {
        "recording": str(source),
        "output": str(output),
        "stream": name,
        "seconds": n_times / sfreq,
        "sfreq": sfreq,
        "model_sfreq": denoiser.sfreq,
        "model": origin,
        "threshold": float(denoiser.threshold_),
        "took": took,
        "channels": channels,
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def check_output(output: str | Path, picture: str | Path | None = None, *, overwrite: bool = False) -> None:
    """Refuse, before any work, an output that is there already and a picture of another format."""
    if Path(output).exists() and not overwrite:
        raise DataError(f"{output} exists already; choose another name or pass --overwrite.")
    check_picture(picture)


def check_picture(path: str | Path | None) -> None:
    if path is not None and Path(path).suffix.lower() not in PICTURE_ENDINGS:
        raise UsageError(f"A picture ends in {', '.join(PICTURE_ENDINGS)}, got {Path(path).name}.")


def save_picture(figure: Any, path: str | Path) -> Path:
    """Write a matplotlib figure whole or not at all."""
    from io import BytesIO

    from neuropil.storage import atomic_write_bytes

    check_picture(path)
    buffer = BytesIO()
    figure.savefig(buffer, format=Path(path).suffix[1:].lower(), dpi=150)
    return atomic_write_bytes(path, buffer.getvalue())


def draw_before_after(
    before: xr.DataArray, after: xr.DataArray, channels: list[str], start: float, path: str | Path
) -> Path:
    """Six seconds around `start` (s from the beginning) before and after cleaning, and the spectra of the same stretch."""
    from matplotlib.figure import Figure

    from neuropil.signal.spectra import power_spectrum

    sfreq, n_times = float(before.attrs["sfreq"]), before.sizes["time"]
    length = min(n_times, round(PICTURE_SECONDS * sfreq))
    first = int(np.clip(round(start * sfreq) - length // 3, 0, n_times - length))
    figure = Figure(figsize=(11, 1.0 + 1.3 * len(channels)), layout="constrained")
    axes = figure.subplots(len(channels), 2, squeeze=False, width_ratios=(3, 1), sharex="col")
    t = (first + np.arange(length)) / sfreq
    for row, channel in zip(axes, channels, strict=True):
        for stream, colour, label in ((before, "#9aa0a6", "before"), (after, "#3b6fb6", "after")):
            part = stream[first : first + length].sel(channel=channel).values.astype(float)
            row[0].plot(t, part - part.mean(), color=colour, lw=0.7, label=label)
            frequencies, density = power_spectrum(part, sfreq, segment=min(1.0, length / sfreq))
            row[1].semilogy(frequencies[1:], density[1:], color=colour, lw=1.0)
        row[0].set_ylabel(channel)
        row[0].spines[["top", "right"]].set_visible(False)
        row[1].spines[["top", "right"]].set_visible(False)
        row[1].set_xlim(0, min(sfreq / 2, 128.0))
    unit = before.attrs.get("unit", "")
    axes[0, 0].legend(loc="upper right", ncols=2, frameon=False, fontsize="small")
    axes[0, 0].set_title(f"The noisiest stretch{f', in {unit}' if unit else ''}", loc="left", fontsize="medium")
    axes[0, 1].set_title("power density", loc="left", fontsize="medium")
    axes[-1, 0].set_xlabel("time (s)")
    axes[-1, 1].set_xlabel("frequency (Hz)")
    return save_picture(figure, path)
