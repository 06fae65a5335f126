"""What the convolutional decoders share: windows are aligned per subject, or scaled, before they reach the network."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Real
from numpy import ndarray
from scipy.special import softmax
from torch import Tensor, nn

from neuropil.alignment import EuclideanAlignment, RiemannianAlignment
from neuropil.errors import DataError, UsageError
from neuropil.networks import TorchClassifier
from neuropil.signature import Signature, coordinate

ALIGNMENTS = ("euclidean", "transductive", "riemannian", "none")


def check_name(argument: str, value: str, names: tuple[str, ...]) -> None:
    """Refuse a name that does not exist."""
    if value not in names:
        raise UsageError(f"{argument} must be one of {', '.join(map(repr, names))}, got {value!r}.")


def check_shape(x: Float[Tensor, "batch channel time"], n_chans: int, n_times: int) -> None:
    """Refuse windows of another shape than a network was built for."""
    if tuple(x.shape[1:]) != (n_chans, n_times):
        raise UsageError(
            f"The network was built for {n_chans} channels of {n_times} samples, got {x.shape[1]} of {x.shape[2]}; "
            "cut the windows alike."
        )


class AlignedClassifier(TorchClassifier):
    """A network classifier with the constructor arguments `alignment`, `sfreq` and `class_weight`.

    - ``alignment='euclidean'``: training windows are whitened by the mean covariance of their group; windows to predict by the
      running mean over the windows of their group in the order given, up to and including the present one. Every call of a predicting
      method starts this mean anew.
    - ``'transductive'``: windows to predict are whitened by the mean over all windows of their group in the call, the future included.
    - ``'riemannian'``: as 'euclidean', with the geometric mean of covariances.
    - ``'none'``: all windows are divided by one number, the standard deviation of the training windows.

    Attributes
    ----------
    reference_ : dict
        Mean covariance of every training group, each of shape (n_channels, n_channels), in squared units of the data; empty without
        alignment.
    """

    alignment: str
    sfreq: float | None

    def prepare_fit(self, X: ndarray, groups: ndarray | None) -> ndarray:
        check_name("alignment", self.alignment, ALIGNMENTS)
        if self.alignment == "none":
            self.scale_, self.reference_ = float(np.std(X, dtype=np.float64)), {}
            return X / self.scale_
        self.alignment_ = self._new_alignment()
        aligned = self.alignment_.fit_transform(X, groups=groups)
        self.reference_ = self.alignment_.reference_
        return aligned

    def prepare_predict(self, X: ndarray, groups: ndarray | None) -> ndarray:
        if self.alignment == "none":
            return X / self.scale_
        return self.alignment_.transform(X, groups=groups)

    def prepare_more(self, X: ndarray, groups: ndarray | None) -> ndarray:
        """Further training windows: known as a whole, as training windows are."""
        if self.alignment == "none":
            return X / self.scale_
        return self._new_alignment().fit_transform(X, groups=groups)

    def _new_alignment(self) -> EuclideanAlignment:
        if self.alignment == "riemannian":
            return RiemannianAlignment()
        return EuclideanAlignment(transductive=self.alignment == "transductive")

    def streaming(self) -> LiveNetwork:
        """The fitted network for one live session: `push(window)` gives the probabilities that `predict_proba` would."""
        if self.alignment == "transductive":
            raise UsageError(
                "A transductive alignment needs all windows at once and cannot run live; use alignment='euclidean'."
            )
        return LiveNetwork(self)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None, groups: Any = None) -> float:
        """Share of windows whose class is predicted; labels by default from the coordinate `label`, groups from `subject`."""
        from sklearn.metrics import accuracy_score

        y = coordinate(X, "label") if y is None else y
        if y is None:
            raise DataError("Expected labels, got none; pass y or windows with a coordinate 'label'.")
        return float(accuracy_score(y, self.predict(X, groups), sample_weight=sample_weight))

    def _network(self, network: type[nn.Module], signature: Signature, **further: Any) -> Any:
        """The network for windows of that signature, with those of its arguments that this estimator has under the same name."""
        own = self.get_params(deep=False)
        arguments = {name: own[name] for name in inspect.signature(network).parameters if name in own}
        shape = {
            "n_chans": signature.n_channels,
            "n_outputs": len(signature.classes or ()),
            "n_times": signature.n_times,
            "sfreq": self._rate(signature),
        }
        return network(**{**arguments, **shape, **further})

    def _rate(self, signature: Signature) -> float:
        """Sampling rate in Hz: that of the windows, or the argument `sfreq` for windows that do not know theirs."""
        if signature.sfreq and self.sfreq and signature.sfreq != self.sfreq:
            raise UsageError(
                f"The windows have {signature.sfreq:g} Hz, but sfreq={self.sfreq:g} was given; leave sfreq out or resample."
            )
        rate = signature.sfreq or self.sfreq
        if not rate:
            raise UsageError("These windows do not know their sampling rate; pass sfreq (in Hz) to the constructor.")
        return float(rate)


class LiveNetwork:
    """A fitted network that judges one window after the other, with the running alignment of one session.

    Parameters
    ----------
    classifier : AlignedClassifier
        Fitted, with an alignment that is not transductive.
    """

    def __init__(self, classifier: AlignedClassifier) -> None:
        self._module = classifier.module_.eval()
        self._scale = classifier.scale_ if classifier.alignment == "none" else None
        self._reference = None if classifier.alignment == "none" else classifier.alignment_.streaming()

    def push(self, window: Real[ndarray, "channel time"]) -> Float64[ndarray, " class"]:
        """Probabilities of the classes for one window of shape (n_channels, n_times)."""
        ready = (
            window / self._scale if self._reference is None else self._reference.push(np.asarray(window, dtype=float))
        )
        with torch.inference_mode():
            logits = self._module(torch.from_numpy(ready.astype(np.float32))[None])[0]
        return softmax(logits.numpy().astype(np.float64))
