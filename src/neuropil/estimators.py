"""The base classes: scikit-learn's contract for windows of activity.

`Estimator` validates data once, in one place, and remembers what it was fitted on (its `Signature`); `TorchEstimator` adds the
three things that a network needs: `build`, `losses`, and what prediction means. A window array is either labelled (`DataArray`
from `neuropil.windowing`) or a plain ndarray of shape (n_windows, n_channels, n_times).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import xarray as xr
from numpy import ndarray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from neuropil import persistence
from neuropil.errors import DataError, UsageError

if TYPE_CHECKING:
    import torch
    from torch import nn


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


class Estimator(BaseEstimator):
    """Base of all estimators: validation, signature, saving.

    Attributes
    ----------
    signature_ : Signature
        What the estimator was fitted on.
    """

    _table = False  # True for the few that take 2-D tables (n_samples, n_features) instead of windows

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = self._table
        tags.input_tags.three_d_array = not self._table
        return tags

    def _read(self, X: Any, *, fitting: bool) -> ndarray:
        if self._table:
            from sklearn.utils.validation import validate_data

            return validate_data(self, X, reset=fitting, dtype=[np.float64, np.float32])
        if isinstance(X, list | tuple):
            if X and isinstance(X[0], xr.DataArray):
                raise DataError(
                    f"{type(self).__name__} takes windows of one channel set, got a list of {len(X)}; use common channels."
                )
            X = np.asarray(X)
        if not hasattr(X, "shape") or len(X.shape) != 3:
            shape = getattr(X, "shape", type(X).__name__)
            raise DataError(
                f"Expected windows of shape (n_windows, n_channels, n_times), got {shape}; cut them with neuropil.windows()."
            )
        if 0 in X.shape:
            raise DataError(f"Expected at least one window, channel and sample, got shape {tuple(X.shape)}.")
        if not fitting:
            check_is_fitted(self)
            self.signature_.check(X)
        return np.asarray(X)

    def _fit_data(self, X: Any, y: Any = None, groups: Any = None) -> tuple[ndarray, Any, ndarray | None]:
        """Validated windows, labels and groups; sets `signature_` (and `classes_` for a classifier).

        Parameters
        ----------
        X : DataArray or ndarray of shape (n_windows, n_channels, n_times)
        y : array-like of shape (n_windows,), optional
            By default the coordinate `label` of labelled windows.
        groups : array-like of shape (n_windows,), optional
            By default the coordinate `subject`.
        """
        array = self._read(X, fitting=True)
        is_classifier = isinstance(self, ClassifierMixin)
        y = coordinate(X, "label") if y is None else y
        if y is None and (is_classifier or isinstance(self, RegressorMixin)):
            if self._table:
                raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
            raise DataError("Expected labels, got none; pass y or windows with a coordinate 'label'.")
        names = Signature.of(X).ch_names if isinstance(X, xr.DataArray) else None
        if not self._table:
            check_windows(array, fitting=True, names=names)
        classes = None
        if is_classifier:
            y = check_labels(y, len(array))
            self.classes_ = np.unique(y)
            classes = tuple(self.classes_.tolist())
        elif isinstance(self, RegressorMixin):
            y = np.asarray(y, dtype=float)
            if len(y) != len(array) or not np.isfinite(y).all():
                raise DataError(
                    f"Expected one finite target for each of the {len(array)} windows, got targets of shape {y.shape}."
                )
        self.signature_ = Signature.of(X if isinstance(X, xr.DataArray) else array, classes)
        return array, y, self._groups(X, groups)

    def _groups(self, X: Any, groups: Any) -> ndarray | None:
        groups = coordinate(X, "subject") if groups is None else np.asarray(groups)
        if groups is not None and len(groups) != X.shape[0]:
            raise DataError(f"Expected one group for each of the {X.shape[0]} windows, got {len(groups)} groups.")
        return groups

    def _predict_data(self, X: Any) -> ndarray:
        """Validated windows that match `signature_`."""
        check_is_fitted(self)
        array = self._read(X, fitting=False)
        if not self._table:
            check_windows(array, fitting=False, names=self.signature_.ch_names)
        return array

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the fitted estimator to the folder `path` as safetensors and JSON."""
        check_is_fitted(self)
        return persistence.save_model(self, path, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The estimator that `save` wrote; nothing in the folder is executed."""
        estimator = persistence.load_model(path)
        if not isinstance(estimator, cls):
            raise UsageError(
                f"{path} holds a {type(estimator).__name__}, not a {cls.__name__}; load it with neuropil.load_model()."
            )
        return estimator


class Classifier(ClassifierMixin, Estimator):
    """An estimator that predicts one class a window."""

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Share of windows whose class is predicted; labels by default from the coordinate `label`."""
        y = coordinate(X, "label") if y is None else y
        if y is None:
            raise DataError("Expected labels, got none; pass y or windows with a coordinate 'label'.")
        return super().score(X, y, sample_weight)


class PipelineClassifier(Classifier):
    """A classifier made of a scikit-learn pipeline on windows: `_make` builds it, fit and predict go through to it.

    Attributes
    ----------
    pipeline_ : Pipeline
        The fitted pipeline.
    """

    def _make(self, signature: Signature) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define _make(signature).")  # pragma: no cover - abstract

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit on windows of shape (n_windows, n_channels, n_times) and their labels."""
        array, labels, _ = self._fit_data(X, y)
        self.pipeline_ = self._make(self.signature_).fit(np.asarray(array, dtype=float), labels)
        return self

    def predict(self, X: Any) -> ndarray:
        """Class of every window, shape (n_windows,)."""
        return self.pipeline_.predict(np.asarray(self._predict_data(X), dtype=float))

    def predict_proba(self, X: Any) -> ndarray:
        """Probability of every class, shape (n_windows, n_classes)."""
        return self.pipeline_.predict_proba(np.asarray(self._predict_data(X), dtype=float))


class Regressor(RegressorMixin, Estimator):
    """An estimator that predicts numbers for every window."""


class Transformer(TransformerMixin, Estimator):
    """An estimator that turns windows into something else."""


def validation_split(
    y: ndarray, groups: ndarray | None, fraction: float, rng: np.random.Generator
) -> tuple[ndarray, ndarray]:
    """Indices of training and validation windows.

    Whole groups are held out where there are at least three; otherwise the last `fraction` of every class in the order given,
    so that validation windows follow the training windows in time.
    """
    if groups is not None and len(np.unique(groups)) >= 3:
        names = rng.permutation(np.unique(groups))
        held = names[: max(1, round(fraction * len(names)))]
        mask = np.isin(groups, held)
    else:
        mask = np.zeros(len(y), dtype=bool)
        for label in np.unique(y):
            mine = np.flatnonzero(y == label)
            mask[mine[len(mine) - max(1, round(fraction * len(mine))) :]] = True
    if mask.all() or not np.isin(np.unique(y), y[~mask]).all():
        raise DataError(
            f"Holding out {fraction:.0%} for validation leaves a class without training windows; lower `validation` or set it to 0."
        )
    return np.flatnonzero(~mask), np.flatnonzero(mask)


class TorchEstimator(Estimator):
    """A network behind scikit-learn's interface.

    A system fills in `build(signature)`, which returns a plain `nn.Module`, and `losses(module, batch)`, which returns a dict of
    scalars for a batch with the entries `X`, `y` and, where given, `weight`. Training is `neuropil.train.fit`.

    Parameters
    ----------
    lr, batch_size, max_epochs, weight_decay :
        Of the training.
    validation : float, default 0
        Share of the training windows held out to choose the best epoch (whole groups where there are some); 0 keeps the last epoch.
    patience : int, optional
        Stop after so many epochs without a better validation loss.
    device : str
        "cpu", "cuda", "auto" ...
    random_state : int, RandomState or None
        Seed of initialisation, order and dropout.
    progress : bool, optional
        Show a bar; by default if somebody is watching.
    checkpoint : str, optional
        File from which an interrupted fit goes on.

    Attributes
    ----------
    module_ : nn.Module
        The trained network.
    history_ : list of dict
        Losses and metrics of every epoch.
    best_epoch_ : int
        The epoch that was kept.
    interrupted_ : bool
        True if a Ctrl-C ended the training.
    """

    def __init__(
        self,
        *,
        lr: float = 1e-3,
        batch_size: int = 32,
        max_epochs: int = 100,
        weight_decay: float = 0.0,
        validation: float = 0.0,
        patience: int | None = None,
        device: str = "cpu",
        random_state: Any = None,
        progress: bool | None = None,
        checkpoint: str | None = None,
    ) -> None:
        self.lr = lr
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.weight_decay = weight_decay
        self.validation = validation
        self.patience = patience
        self.device = device
        self.random_state = random_state
        self.progress = progress
        self.checkpoint = checkpoint

    def build(self, signature: Signature) -> nn.Module:
        """The untrained network for windows of that signature."""
        raise NotImplementedError(f"{type(self).__name__} must define build(signature).")  # pragma: no cover - abstract

    def losses(self, module: nn.Module, batch: dict[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Scalars of a batch; `loss` is minimised."""
        raise NotImplementedError(
            f"{type(self).__name__} must define losses(module, batch)."
        )  # pragma: no cover - abstract

    def prepare_fit(self, X: ndarray, groups: ndarray | None) -> ndarray:
        """What happens to training windows before the network (alignment, scaling); learned things are set here."""
        return X

    def prepare_predict(self, X: ndarray, groups: ndarray | None) -> ndarray:
        """What happens to new windows before the network."""
        return X

    def _tensors(self, X: ndarray, y: ndarray) -> dict[str, torch.Tensor]:
        import torch

        return {"X": torch.as_tensor(np.ascontiguousarray(X, dtype=np.float32)), "y": torch.as_tensor(y)}

    def _fit_network(self, X: ndarray, y: ndarray, groups: ndarray | None, strata: ndarray | None = None) -> Self:
        """Build and train on prepared windows and encoded targets; sets everything that ends in `_`."""
        from sklearn.utils import check_random_state

        from neuropil import train

        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        chosen, held = np.arange(len(X)), None
        if self.validation:
            rng = np.random.default_rng(seed)
            chosen, held = validation_split(y if strata is None else strata, groups, self.validation, rng)
        X = self.prepare_fit(X, groups)
        with train.seeded(seed):
            self.module_ = self.build(self.signature_)
            result = train.fit(
                self.module_,
                self.losses,
                self._tensors(X[chosen], y[chosen]),
                validation=None if held is None else self._tensors(X[held], y[held]),
                max_epochs=self.max_epochs,
                batch_size=self.batch_size,
                lr=self.lr,
                weight_decay=self.weight_decay,
                patience=self.patience,
                seed=seed,
                device=self.device,
                checkpoint=self.checkpoint,
                progress=self.progress,
                title=type(self).__name__,
            )
        self.history_, self.best_epoch_, self.interrupted_ = result
        self.n_parameters_ = sum(p.numel() for p in self.module_.parameters() if p.requires_grad)
        return self

    def _run(self, X: Any, groups: Any = None, forward: Any = None, batch_size: int = 256) -> ndarray:
        """Output of the network (or of `forward(batch)`) for windows, in evaluation mode, without gradients."""
        import torch

        array = self._predict_data(X)
        array = self.prepare_predict(array, self._groups(X, groups))
        forward = forward or self.module_
        self.module_.eval()
        with torch.inference_mode():
            tensors = torch.as_tensor(np.ascontiguousarray(array, dtype=np.float32)).split(batch_size)
            return np.concatenate([forward(batch).cpu().numpy() for batch in tensors])

    def _persistent_state(self) -> dict[str, Any]:
        state = dict(vars(self))
        module = state.pop("module_", None)
        if module is not None:
            state["_parameters"] = {name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}
        return state

    def _restore_state(self, state: dict[str, Any]) -> None:
        import torch

        parameters = state.pop("_parameters", None)
        self.__dict__.update(state)
        if parameters is not None:
            self.module_ = self.build(self.signature_)
            self.module_.load_state_dict({name: torch.as_tensor(np.array(value)) for name, value in parameters.items()})
            self.module_.eval()


class TorchClassifier(ClassifierMixin, TorchEstimator):
    """A network that predicts one class a window; its module returns logits of shape (n_windows, n_classes).

    Training minimises cross-entropy; `class_weight="balanced"` as an attribute of the subclass weighs rare classes up.
    """

    def losses(self, module: nn.Module, batch: dict[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        from torch.nn.functional import cross_entropy

        logits = module(batch["X"])
        loss = cross_entropy(logits, batch["y"], weight=self._class_weights(batch["y"]))
        return {"loss": loss, "accuracy": (logits.detach().argmax(dim=1) == batch["y"]).float().mean()}

    def _class_weights(self, like: torch.Tensor) -> torch.Tensor | None:
        import torch

        weights = getattr(self, "class_weights_", None)
        return None if weights is None else torch.as_tensor(weights, dtype=torch.float32, device=like.device)

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> Self:
        """Train on windows of shape (n_windows, n_channels, n_times), labels and, where given, groups (subjects)."""
        array, labels, groups = self._fit_data(X, y, groups)
        encoded = np.searchsorted(self.classes_, np.asarray(labels))
        if getattr(self, "class_weight", None) == "balanced":
            counts = np.bincount(encoded)
            self.class_weights_ = len(encoded) / (len(counts) * counts)
        return self._fit_network(array, encoded, groups)

    def predict_proba(self, X: Any, groups: Any = None) -> ndarray:
        """Probability of every class, shape (n_windows, n_classes)."""
        from scipy.special import softmax

        return softmax(self._run(X, groups).astype(np.float64), axis=1)

    def predict(self, X: Any, groups: Any = None) -> ndarray:
        """Class of every window, shape (n_windows,)."""
        best = self.predict_proba(X, groups).argmax(axis=1)
        return self.classes_[best]
