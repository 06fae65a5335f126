r"""Spikes of a network of coupled neurons with delays, whose wiring is known; of a speed, or of a moving bar, that drives some of them.

In every bin every neuron fires with a probability whose logit adds up what arrives:

.. math:: \mathrm{logit}\, p_i(t) = b + \sum_j W_{ij}\, s_j(t - d_{ij}) + u_i(t)

Row i of `W` is the neuron that listens, column j the one that it listens to. The drive `u` is that of a speed, an autoregressive process
that moves some of the neurons, or of a bar which sweeps over a small screen to the right or to the left: one half of the neurons fires
more during sweeps to the right, the other half during sweeps to the left, and each of them most while the bar is at its own place.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from numpy.random import Generator, default_rng
from scipy.signal import lfilter

from neuropil.errors import UsageError
from neuropil.recording import Recording
from neuropil.streams import regular_stream, sample_times


class BarMovie(NamedTuple):
    """A bar that sweeps over a screen.

    Attributes
    ----------
    frames : ndarray of shape (n_frames, size, size)
        Brightness from 0 to 1.
    directions : ndarray of int, shape (n_frames,)
        1 to the right, 0 to the left.
    places : ndarray of shape (n_frames,)
        Column of the bar's middle.
    sfreq : float
        Frames a second.
    """

    frames: Float[ndarray, "frame row column"]
    directions: Int[ndarray, " frame"]
    places: Float[ndarray, " frame"]
    sfreq: float

    def stream(self) -> xr.DataArray:
        """The frames as a stream with the dimensions time, row and column."""
        return xr.DataArray(
            self.frames,
            dims=("time", "row", "column"),
            coords=sample_times(0.0, len(self.frames) / self.sfreq, len(self.frames)),
            attrs={"sfreq": self.sfreq, "unit": "", "modality": "video"},
        )


class CoupledNetwork(NamedTuple):
    """Spikes of a network, and the truth behind them.

    Attributes
    ----------
    spikes : ndarray of int, shape (n_times, n_neurons)
        0 or 1.
    weights : ndarray of shape (n_neurons, n_neurons)
        What a spike of neuron j (column) adds to the logit of neuron i (row).
    delays : ndarray of int, shape (n_neurons, n_neurons)
        Bins from a spike to its effect; 0 where nothing is connected.
    drive : ndarray of shape (n_times, n_neurons)
        What was added to the logits from outside of the network.
    bin_width : float
        In s.
    """

    spikes: Int[ndarray, "time neuron"]
    weights: Float[ndarray, "neuron neuron"]
    delays: Int[ndarray, "neuron neuron"]
    drive: Float[ndarray, "time neuron"]
    bin_width: float

    @property
    def edges(self) -> Bool[ndarray, "neuron neuron"]:
        """True where column j projects to row i."""
        return self.weights != 0

    def recording(self, *, speed: ndarray | None = None, movie: BarMovie | None = None) -> Recording:
        """A recording with the stream "spikes" (counts a bin), and where given "speed" (as many bins) and "frames"."""
        rate = 1 / self.bin_width
        streams = {"spikes": regular_stream(self.spikes, rate, kind="misc", unit="count", modality="spikes")}
        if speed is not None:
            streams["speed"] = regular_stream(
                np.asarray(speed)[:, None], rate, channels=["speed"], kind="misc", unit="", modality="behaviour"
            )
        if movie is not None:
            streams["frames"] = movie.stream()
        return Recording(streams)


def random_wiring(
    n_neurons: int = 20,
    n_partners: int = 2,
    *,
    weight: tuple[float, float] = (1.95, 3.25),
    delay: tuple[int, int] = (2, 5),
    random_state: int | Generator | None = None,
) -> tuple[Float[ndarray, "neuron neuron"], Int[ndarray, "neuron neuron"]]:
    """Weights and delays: every neuron listens to `n_partners` others, drawn at random.

    Parameters
    ----------
    n_neurons, n_partners : int
    weight : tuple of float
        Smallest and largest, drawn uniformly.
    delay : tuple of int
        Shortest and longest, in bins; each pair has one of its own.
    random_state : int, Generator or None

    Returns
    -------
    weights, delays : ndarray of shape (n_neurons, n_neurons)
        Row i listens to column j.

    Examples
    --------
    >>> weights, delays = random_wiring(5, 2, random_state=0)
    >>> (weights > 0).sum(axis=1).tolist(), int(delays[weights > 0].min()) >= 2
    ([2, 2, 2, 2, 2], True)
    """
    if not 0 <= n_partners < n_neurons:
        raise UsageError(f"A neuron can listen to 0 to {n_neurons - 1} others of {n_neurons}, got {n_partners}.")
    if not 1 <= delay[0] <= delay[1] or not weight[0] <= weight[1]:
        raise UsageError(f"Delays last one bin or more, and ranges grow, got {delay=} and {weight=}.")
    rng = default_rng(random_state)
    weights, delays = np.zeros((n_neurons, n_neurons)), np.zeros((n_neurons, n_neurons), dtype=np.int64)
    for post in range(n_neurons):
        others = np.delete(np.arange(n_neurons), post)
        partners = rng.choice(others, n_partners, replace=False)
        weights[post, partners] = rng.uniform(*weight, n_partners)
        delays[post, partners] = rng.integers(delay[0], delay[1] + 1, n_partners)
    return weights, delays


def simulate_coupled_logistic(
    n_times: int = 60_000,
    n_neurons: int = 20,
    n_partners: int = 2,
    *,
    weight: tuple[float, float] = (1.95, 3.25),
    delay: tuple[int, int] = (2, 5),
    base_logit: float = -4.4,
    drive: Float[ndarray, "time neuron"] | None = None,
    bin_width: float = 0.01,
    random_state: int | Generator | None = None,
) -> CoupledNetwork:
    """Bernoulli spikes of a randomly wired network with delays.

    Parameters
    ----------
    n_times, n_neurons, n_partners : int
    weight, delay :
        As in `random_wiring`.
    base_logit : float, default -4.4
        Of a neuron to which nothing arrives: 1.2 spikes a second in bins of 10 ms.
    drive : ndarray of shape (n_times, n_neurons), optional
        Added to the logits.
    bin_width : float, default 0.01
        In s.
    random_state : int, Generator or None

    Examples
    --------
    >>> network = simulate_coupled_logistic(1000, 6, random_state=0)
    >>> network.spikes.shape, network.edges.sum()
    ((1000, 6), np.int64(12))
    """
    if n_times < 1 or not bin_width > 0:
        raise UsageError(f"A simulation needs one bin or more of positive width, got {n_times=} and {bin_width=}.")
    rng = default_rng(random_state)
    weights, delays = random_wiring(n_neurons, n_partners, weight=weight, delay=delay, random_state=rng)
    outside = np.zeros((n_times, n_neurons)) if drive is None else np.asarray(drive, dtype=np.float64)
    if outside.shape != (n_times, n_neurons):
        raise UsageError(f"The drive must have shape {(n_times, n_neurons)}, got {outside.shape}.")
    # whether a neuron fires at this logit is whether its logistic noise lies below: one comparison a bin, and no exponential
    noise = rng.logistic(size=(n_times, n_neurons))
    posts, pres = np.nonzero(weights)
    lags, sizes = delays[posts, pres], weights[posts, pres]
    spikes = np.zeros((n_times + int(lags.max(initial=0)), n_neurons), dtype=np.int64)
    arriving = np.zeros((n_times + int(lags.max(initial=0)), n_neurons))
    targets: list[tuple[ndarray, ndarray, ndarray]] = [
        (lags[pres == j], posts[pres == j], sizes[pres == j]) for j in range(n_neurons)
    ]
    for time in range(n_times):
        fired = np.flatnonzero(noise[time] < base_logit + arriving[time] + outside[time])
        spikes[time, fired] = 1
        for neuron in fired:
            lag, post, size = targets[neuron]
            arriving[time + lag, post] += size
    return CoupledNetwork(spikes[:n_times], weights, delays, outside, bin_width)


def slow_speed(
    n_times: int, *, time_constant: float = 1.0, bin_width: float = 0.01, random_state: int | Generator | None = None
) -> Float[ndarray, " time"]:
    """An autoregressive process of unit variance that forgets with `time_constant` (s).

    Examples
    --------
    >>> slow_speed(1000, random_state=0).shape
    (1000,)
    """
    if n_times < 1 or not (time_constant > 0 and bin_width > 0):
        raise UsageError(
            f"A speed needs a bin or more and positive times, got {n_times=}, {time_constant=}, {bin_width=}."
        )
    rng = default_rng(random_state)
    decay = np.exp(-bin_width / time_constant)
    noise = rng.standard_normal(n_times) * np.sqrt(1 - decay**2)
    noise[0] = rng.standard_normal()
    return lfilter([1.0], [1.0, -decay], noise)


def speed_drive(
    speed: Float[ndarray, " time"], n_neurons: int = 20, *, n_driven: int = 10, gain: float = 1.0
) -> Float[ndarray, "time neuron"]:
    """What a speed adds to the logits of the first `n_driven` neurons.

    Examples
    --------
    >>> speed_drive(np.array([0.5]), 3, n_driven=2).tolist()
    [[0.5, 0.5, 0.0]]
    """
    if not 0 <= n_driven <= n_neurons:
        raise UsageError(f"Between 0 and {n_neurons} neurons can be driven, got {n_driven}.")
    return gain * speed[:, None] * (np.arange(n_neurons) < n_driven)


def moving_bar(
    n_frames: int,
    *,
    size: int = 16,
    bar_width: float = 2.0,
    sweep: int = 20,
    sfreq: float = 20.0,
    random_state: int | Generator | None = None,
) -> BarMovie:
    """A bright vertical bar that sweeps over a dark screen again and again, to the right or to the left at random.

    Parameters
    ----------
    n_frames : int
    size : int, default 16
        Rows and columns.
    bar_width : float, default 2.0
        In columns.
    sweep : int, default 20
        Frames of a sweep.
    sfreq : float, default 20.0
        Frames a second.
    random_state : int, Generator or None

    Examples
    --------
    >>> movie = moving_bar(40, random_state=0)
    >>> movie.frames.shape, movie.directions[[0, 39]].tolist()
    ((40, 16, 16), [1, 1])
    """
    if min(n_frames, size, sweep) < 1 or not (bar_width > 0 and sfreq > 0):
        raise UsageError(
            f"A movie needs frames, pixels and a bar, got {n_frames=}, {size=}, {sweep=}, {bar_width=}, {sfreq=}."
        )
    rng = default_rng(random_state)
    directions = np.repeat(rng.integers(0, 2, -(-n_frames // sweep)), sweep)[:n_frames]
    progress = (np.arange(n_frames) % sweep + 0.5) / sweep * size - 0.5
    places = np.where(directions == 1, progress, size - 1 - progress)
    edges = np.abs(np.arange(size) - places[:, None])
    rows = np.clip(bar_width / 2 + 0.5 - edges, 0.0, 1.0)
    return BarMovie(np.repeat(rows[:, None], size, axis=1), directions, places, sfreq)


def bar_drive(
    movie: BarMovie,
    n_times: int,
    n_neurons: int = 20,
    *,
    bin_width: float = 0.01,
    gain: float = 1.0,
    place_gain: float = 0.0,
    field_width: float = 2.0,
) -> Float[ndarray, "time neuron"]:
    """What the bar adds to the logits: `gain` to neurons of its direction, and more where it crosses a neuron's own place.

    Parameters
    ----------
    movie : BarMovie
    n_times, n_neurons : int
        The first half of the neurons prefers sweeps to the right; the places of each half are spread evenly over the screen.
    bin_width : float, default 0.01
        In s.
    gain : float, default 1.0
        Of the direction.
    place_gain : float, default 0.0
        At the middle of a neuron's receptive field, during sweeps in its direction.
    field_width : float, default 2.0
        Standard deviation of the receptive fields, in columns.

    Examples
    --------
    >>> movie = moving_bar(20, random_state=0)
    >>> bar_drive(movie, 100, 4)[0].tolist()
    [1.0, 1.0, 0.0, 0.0]
    """
    frame = np.floor(np.arange(n_times) * bin_width * movie.sfreq + 1e-9).astype(np.int64)
    if n_times < 1 or frame[-1] >= len(movie.frames):
        raise UsageError(
            f"The {len(movie.frames)} frames of the movie must last as long as the spikes, {n_times * bin_width:g} s; make more frames."
        )
    half = -(-n_neurons // 2)
    rightward = np.arange(n_neurons) < half
    size = movie.frames.shape[2]
    within = np.where(rightward, np.arange(n_neurons), np.arange(n_neurons) - half)
    centres = (within + 0.5) / np.where(rightward, half, max(n_neurons - half, 1)) * size - 0.5
    bumps = np.exp(-((movie.places[:, None] - centres) ** 2) / (2 * field_width**2))
    mine = (movie.directions == 1)[:, None] == rightward
    return (mine * (gain + place_gain * bumps))[frame]
