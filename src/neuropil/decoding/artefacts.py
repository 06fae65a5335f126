"""Classical removal of artefacts, behind one interface: `transform` takes segments and returns them cleaned, in the same unit.

- `ReferenceRegression` subtracts what electrodes beside the eyes or on the muscles predict; it needs such channels.
- `ICARemoval` separates channels into independent components and leaves out those of the artefact; it needs many channels and
  minutes of data, and finds at most as many sources as there are channels.
- `WaveletDenoiser` shrinks the wavelet coefficients of every channel by itself; it takes the noise for white.
- `AverageWienerFilter` weighs every frequency by the mean share of the signal in it. Fitted on the very data that it is tested on, it is
  the best fixed linear filter, an oracle to compare others with.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float64
from numpy import ndarray
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from neuropil.errors import DataError, UsageError
from neuropil.estimators import Transformer
from neuropil.signal.wavelets import wavelet_shrinkage
from neuropil.signature import Signature
from neuropil.stats.correlation import row_correlation

MAX_LEVELS = 5
FACTORS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


def segment_rows(X: Any, n_times: int | None = None) -> tuple[Float64[ndarray, "row time"], tuple[int, ...]]:
    """Segments of shape (n, n_times) or (n, n_channels, n_times) as rows of one channel each, and the shape that they had.

    Raises
    ------
    DataError
        If the shape or the length is another, or a sample is not finite.

    Examples
    --------
    >>> rows, shape = segment_rows(np.zeros((4, 3, 100)))
    >>> rows.shape, shape
    ((12, 100), (4, 3, 100))
    """
    array = np.asarray(X)
    if array.ndim not in (2, 3) or array.dtype.kind not in "fiu" or 0 in array.shape:
        raise DataError(
            f"Expected segments of shape (n, n_times) or (n, n_channels, n_times), got {array.dtype} of shape {array.shape}."
        )
    if n_times is not None and array.shape[-1] != n_times:
        raise DataError(f"Expected segments of {n_times} samples, got {array.shape[-1]}; cut segments of that length.")
    rows = array.reshape(-1, array.shape[-1]).astype(np.float64)
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        raise DataError(
            f"Expected finite samples, got NaN or infinity in {int(bad.sum())} of {len(rows)} segments (first: "
            f"{int(np.flatnonzero(bad)[0])}); interpolate or leave them out."
        )
    return rows, array.shape


def _multichannel(X: Any) -> ndarray:
    rows, shape = segment_rows(X)
    if len(shape) != 3:
        raise DataError(
            f"This method works across channels: expected segments of shape (n, n_channels, n_times), got {shape}."
        )
    return rows.reshape(shape)


def like(X: Any, values: ndarray) -> Any:
    """Values as labelled windows where `X` is, else as they are."""
    return X.copy(data=values) if isinstance(X, xr.DataArray) else values


class ReferenceRegression(Transformer):
    """Subtract from every channel what the reference channels predict, by least squares over all segments.

    The references (EOG, EMG) are channels of the segments; they come back unchanged. What they pick up of the brain is subtracted too.

    Parameters
    ----------
    references : sequence of int, default (-1,)
        Which channels are references.

    Attributes
    ----------
    weights_ : ndarray of shape (n_references, n_channels)
        What one unit of a reference adds to every channel; 0 for references.

    References
    ----------
    Gratton, Coles & Donchin (1983). A new method for off-line removal of ocular artifact. Electroencephalography and Clinical
    Neurophysiology 55(4), 468-484.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> brain, eye = rng.normal(size=(5, 2, 200)), rng.normal(size=(5, 1, 200))
    >>> X = np.concatenate([brain + 3 * eye, eye], axis=1)
    >>> bool(np.abs(ReferenceRegression().fit_transform(X)[:, :2] - brain).max() < 0.4)
    True
    """

    def __init__(self, references: Sequence[int] = (-1,)) -> None:
        self.references = references

    def fit(self, X: Any, y: Any = None) -> ReferenceRegression:
        """Estimate the weights on segments of shape (n, n_channels, n_times)."""
        array = _multichannel(X)
        n_channels = array.shape[1]
        if not len(self.references) or not all(-n_channels <= k < n_channels for k in self.references):
            raise UsageError(
                f"references are numbers of the {n_channels} channels, at least one, got {tuple(self.references)}."
            )
        chosen = np.unique([k % n_channels for k in self.references])
        if len(chosen) == n_channels:
            raise UsageError("All channels are references; there is nothing to clean.")
        centred = array - array.mean(axis=-1, keepdims=True)
        samples = np.moveaxis(centred, 1, 2).reshape(-1, n_channels)
        self.weights_ = np.linalg.lstsq(samples[:, chosen], samples, rcond=None)[0]
        self.weights_[:, chosen] = 0.0
        self.chosen_ = chosen
        self.signature_ = Signature.of(X)
        return self

    def transform(self, X: Any) -> Any:
        """Segments without what the references predict."""
        check_is_fitted(self)
        self.signature_.check(X)
        array = _multichannel(X)
        references = array[:, self.chosen_] - array[:, self.chosen_].mean(axis=-1, keepdims=True)
        return like(X, array - np.einsum("nrt,rc->nct", references, self.weights_))


class ICARemoval(Transformer):
    """Leave out the independent components that belong to an artefact (MNE-Python's ICA, extended Infomax).

    With references, a component is left out if it correlates with one of them; without, if MNE-Python's criteria for muscle components
    (slope of the spectrum; with electrode positions also focus and smoothness) say so. Muscle activity that spreads over more sources
    than there are channels to spare cannot be separated: part of it stays, and with a component goes brain activity that it holds.

    Parameters
    ----------
    sfreq : float, default 256.0
        Sampling rate in Hz.
    references : sequence of int, default ()
        Channels that record the artefact; they take no part in the separation and come back unchanged.
    threshold : float, default 0.5
        Correlation with a reference, or MNE-Python's score, from which a component is left out.
    max_iter : int, default 200
    random_state : int, RandomState or None

    Attributes
    ----------
    excluded_ : list of int
        Components that are left out.
    projection_ : ndarray of shape (n_channels, n_channels)
        What cleans the samples, once the mean over time is taken out.

    References
    ----------
    Dharmaprani, Nguyen, Lewis, DeLosAngeles, Willoughby & Pope (2016). A comparison of independent component analysis algorithms and
    measures to discriminate between EEG and artifact components. IEEE EMBC.
    """

    def __init__(
        self,
        sfreq: float = 256.0,
        references: Sequence[int] = (),
        threshold: float = 0.5,
        max_iter: int = 200,
        random_state: Any = None,
    ) -> None:
        self.sfreq = sfreq
        self.references = references
        self.threshold = threshold
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> ICARemoval:
        """Separate the components of segments of shape (n, n_channels, n_times), laid end to end, and choose those to leave out."""
        import mne

        array = _multichannel(X)
        n_channels = array.shape[1]
        held = sorted({k % n_channels for k in self.references})
        kept = [k for k in range(n_channels) if k not in held]
        if len(kept) < 2:
            raise DataError(
                f"Independent components need two channels or more, got {len(kept)}; use a single-channel method."
            )
        centred = array - array.mean(axis=-1, keepdims=True)
        samples = np.moveaxis(centred, 1, 2).reshape(-1, n_channels).T
        scale = samples[kept].std()
        names = [f"E{k}" for k in kept]
        raw = mne.io.RawArray(samples[kept] / scale * 1e-5, mne.create_info(names, self.sfreq, "eeg"), verbose="error")
        ica = mne.preprocessing.ICA(
            n_components=None,
            method="infomax",
            fit_params={"extended": True},
            max_iter=self.max_iter,
            random_state=int(check_random_state(self.random_state).randint(2**31 - 1)),
            verbose="error",
        )
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", RuntimeWarning
            )  # the data are as filtered as they are, and may not converge
            ica.fit(raw, verbose="error")
            if held:
                sources = ica.get_sources(raw).get_data()
                correlation = np.corrcoef(sources, samples[held])[: len(sources), len(sources) :]
                scores = np.abs(correlation).max(axis=1)
                self.excluded_ = [int(k) for k in np.flatnonzero(scores > self.threshold)]
            else:
                self.excluded_ = [
                    int(k) for k in ica.find_bads_muscle(raw, threshold=self.threshold, verbose="error")[0]
                ]
        unmixing = ica.unmixing_matrix_ @ ica.pca_components_[: ica.n_components_]
        mixing = ica.pca_components_[: ica.n_components_].T @ ica.mixing_matrix_
        self.projection_ = np.eye(n_channels)
        removed = mixing[:, self.excluded_] @ unmixing[self.excluded_]
        # MNE-Python divides channels of one kind by one number before the separation, so that it cancels here
        self.projection_[np.ix_(kept, kept)] -= removed
        self.signature_ = Signature.of(X)
        return self

    def transform(self, X: Any) -> Any:
        """Segments without the artefact's components."""
        check_is_fitted(self)
        self.signature_.check(X)
        array = _multichannel(X)
        mean = array.mean(axis=-1, keepdims=True)
        return like(X, np.einsum("dc,nct->ndt", self.projection_, array - mean) + mean)


class WaveletDenoiser(Transformer):
    """Soft thresholding of Daubechies' wavelet coefficients, channel by channel.

    The universal threshold takes the noise for white and steady; bursts of muscle activity are neither, and need a larger one. With
    pairs of noisy and clean segments `fit` chooses the factor and the number of levels of the best mean correlation.

    Parameters
    ----------
    levels : int, default 3
        Levels of details, each half as fast as the one before: at 256 Hz three reach down to 16 Hz.
    factor : float, default 1.0
        Of the universal threshold.
    moments : int, default 4
        Vanishing moments of the wavelet (4: "db4", 8 taps).

    Attributes
    ----------
    levels_, factor_ : int, float
        What is used.

    References
    ----------
    Donoho & Johnstone (1994). Ideal spatial adaptation by wavelet shrinkage. Biometrika 81(3), 425-455.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> clean, noise = np.cumsum(rng.normal(size=(20, 256)), axis=1), rng.normal(size=(20, 256))
    >>> denoiser = WaveletDenoiser().fit(clean + noise, clean)
    >>> bool(np.std(denoiser.transform(clean + noise) - clean) < np.std(noise))
    True
    """

    def __init__(self, levels: int = 3, factor: float = 1.0, moments: int = 4) -> None:
        self.levels = levels
        self.factor = factor
        self.moments = moments

    def fit(self, X: Any = None, y: Any = None) -> WaveletDenoiser:
        """Choose factor and levels on noisy segments `X` and clean ones `y`; without `y`, take those of the constructor."""
        self.levels_, self.factor_ = self.levels, self.factor
        if y is None:
            return self
        noisy, shape = segment_rows(X)
        clean, clean_shape = segment_rows(y)
        if clean_shape != shape:
            raise DataError(f"Expected clean segments of the shape {shape} of the noisy ones, got {clean_shape}.")
        best = -np.inf
        for levels in range(1, MAX_LEVELS + 1):
            for factor in FACTORS:
                cleaned = wavelet_shrinkage(noisy, levels, self.moments, factor)
                correlation = float(row_correlation(cleaned, clean).mean())
                if correlation > best:
                    best, self.levels_, self.factor_ = correlation, levels, factor
        return self

    def transform(self, X: Any) -> Any:
        """Shrunk segments of the shape of `X`."""
        check_is_fitted(self)
        rows, shape = segment_rows(X)
        return like(X, wavelet_shrinkage(rows, self.levels_, self.moments, self.factor_).reshape(shape))


class AverageWienerFilter(Transformer):
    """One linear filter for all segments: S / (S + N) at every frequency, from the mean spectra of signal and noise.

    Spectra are averaged after division by the standard deviation of the noisy segments, so that every segment counts alike.

    Attributes
    ----------
    gain_ : ndarray of shape (n_times // 2 + 1,)
        Factor at every frequency, from 0 to 1.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> clean, noise = np.cumsum(rng.normal(size=(50, 128)), axis=1), rng.normal(size=(50, 128))
    >>> wiener = AverageWienerFilter().fit(clean + noise, clean)
    >>> bool(np.std(wiener.transform(clean + noise) - clean) < 0.8 * np.std(noise))
    True
    """

    def fit(self, X: Any, y: Any = None) -> AverageWienerFilter:
        """Take the spectra from noisy segments `X` and the clean ones `y`, both of shape (n, n_times) or (n, n_channels, n_times)."""
        noisy, shape = segment_rows(X)
        clean, clean_shape = segment_rows(y, shape[-1])
        if clean_shape != shape:
            raise DataError(f"Expected clean segments of the shape {shape} of the noisy ones, got {clean_shape}.")
        scale = noisy.std(axis=1, keepdims=True)
        if not (scale > 0).all():
            raise DataError(f"{int((scale == 0).sum())} noisy segments are flat; leave them out.")
        signal, noise = (np.mean(np.abs(np.fft.rfft(x / scale)) ** 2, axis=0) for x in (clean, noisy - clean))
        total = signal + noise
        self.gain_ = np.divide(signal, total, out=np.zeros_like(total), where=total > 0)
        self.gain_[0] = 1.0
        self.n_times_ = shape[-1]
        return self

    def transform(self, X: Any) -> Any:
        """Filtered segments of the shape of `X`."""
        check_is_fitted(self)
        rows, shape = segment_rows(X, self.n_times_)
        return like(X, np.fft.irfft(np.fft.rfft(rows) * self.gain_, self.n_times_).reshape(shape))
