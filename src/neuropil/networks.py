"""Networks behind scikit-learn's interface: three things to fill in, one training loop behind them.

`TorchEstimator` asks a system for `build` (the module), `losses` (scalars of a batch), and what prediction means. The module is a plain
`nn.Module` that can be taken into a training loop of one's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy import ndarray
from sklearn.base import ClassifierMixin, RegressorMixin

from neuropil.errors import DataError
from neuropil.estimators import Estimator
from neuropil.persistence import HoldsModule
from neuropil.signature import Signature, coordinate

if TYPE_CHECKING:
    import torch
    from torch import nn


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


class TorchEstimator(HoldsModule, Estimator):
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
        raise NotImplementedError(f"{type(self).__name__} must define the abstract build(signature).")

    def _build_anew(self) -> nn.Module:
        return self.build(self.signature_)

    def losses(self, module: nn.Module, batch: dict[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Scalars of a batch; `loss` is minimised."""
        raise NotImplementedError(f"{type(self).__name__} must define the abstract losses(module, batch).")

    def fit_options(self) -> dict[str, Any]:
        """Further arguments of `neuropil.train.fit`: an optimiser, a schedule, what the best epoch is chosen by."""
        return {}

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
        from neuropil import train

        seed = self._seed()
        chosen, held = self._hold_out(y if strata is None else strata, groups, seed)
        X = self.prepare_fit(X, groups)
        with train.seeded(seed):
            self.module_ = self.build(self.signature_)
            self._train(
                self._tensors(X[chosen], y[chosen]), None if held is None else self._tensors(X[held], y[held]), seed
            )
        self.n_parameters_ = sum(p.numel() for p in self.module_.parameters() if p.requires_grad)
        return self

    def _train(
        self, data: dict[str, torch.Tensor], validation: dict[str, torch.Tensor] | None, seed: int, **options: Any
    ) -> None:
        """Train `module_` by the one loop, and keep what it returns."""
        from neuropil import train

        settings = {
            "max_epochs": self.max_epochs,
            "batch_size": self.batch_size,
            "lr": self.lr,
            "weight_decay": self.weight_decay,
            "patience": self.patience,
            "device": self.device,
            "checkpoint": self.checkpoint,
            "progress": self.progress,
            "title": type(self).__name__,
        }
        result = train.fit(
            self.module_,
            self.losses,
            data,
            validation=validation,
            seed=seed,
            **{**settings, **self.fit_options(), **options},
        )
        self.history_, self.best_epoch_, self.interrupted_ = result

    def _seed(self) -> int:
        from sklearn.utils import check_random_state

        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _hold_out(self, strata: ndarray, groups: ndarray | None, seed: int) -> tuple[ndarray, ndarray | None]:
        """Indices of training and, where `validation` asks for some, of validation windows."""
        if not self.validation:
            return np.arange(len(strata)), None
        return validation_split(strata, groups, self.validation, np.random.default_rng(seed))

    def finetune(self, X: Any, y: Any = None, groups: Any = None, **options: Any) -> Self:
        """A copy of this fitted network, trained on for windows of one more subject or session; this one stays as it is.

        Parameters
        ----------
        X, y, groups :
            As for `fit`: the same channels, rate and length, and no class that the network does not know.
        **options
            Arguments of `neuropil.train.fit` that differ from those of `fit`, such as `lr` and `max_epochs`.

        Returns
        -------
        TorchEstimator
            Fitted; its history is that of the further training.

        Raises
        ------
        DataError
            If the windows do not match, or carry an unknown class.
        """
        from copy import deepcopy

        from neuropil import train

        tuned = deepcopy(self)
        array, groups = tuned._predict_data(X), tuned._groups(X, groups)
        targets, strata = tuned._more_targets(X, y, len(array))
        seed = tuned._seed()
        chosen, held = tuned._hold_out(strata, groups, seed)
        array = tuned.prepare_more(array, groups)
        with train.seeded(seed):
            tuned._train(
                tuned._tensors(array[chosen], targets[chosen]),
                None if held is None else tuned._tensors(array[held], targets[held]),
                seed,
                **options,
            )
        return tuned

    def prepare_more(self, X: ndarray, groups: ndarray | None) -> ndarray:
        """What happens to further training windows before the network; by default as when predicting."""
        return self.prepare_predict(X, groups)

    def _more_targets(self, X: Any, y: Any, n_windows: int) -> tuple[ndarray, ndarray]:
        """Encoded targets of further training windows, and what validation windows are balanced by."""
        raise NotImplementedError(f"{type(self).__name__} must define how further targets are encoded.")

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

    def _more_targets(self, X: Any, y: Any, n_windows: int) -> tuple[ndarray, ndarray]:
        y = coordinate(X, "label") if y is None else y
        if y is None:
            raise DataError("Expected labels, got none; pass y or windows with a coordinate 'label'.")
        labels = np.asarray(y)
        if labels.shape != (n_windows,):
            raise DataError(
                f"Expected one label for each of the {n_windows} windows, got labels of shape {labels.shape}."
            )
        unknown = sorted(set(labels.tolist()) - set(self.classes_.tolist()), key=str)
        if unknown:
            raise DataError(
                f"The network was fitted on the classes {', '.join(map(str, self.classes_))}, got {', '.join(map(str, unknown))}; "
                "leave these windows out or fit a new one."
            )
        encoded = np.searchsorted(self.classes_, labels)
        return encoded, encoded

    def predict_proba(self, X: Any, groups: Any = None) -> ndarray:
        """Probability of every class, shape (n_windows, n_classes)."""
        from scipy.special import softmax

        return softmax(self._run(X, groups).astype(np.float64), axis=1)

    def predict(self, X: Any, groups: Any = None) -> ndarray:
        """Class of every window, shape (n_windows,)."""
        best = self.predict_proba(X, groups).argmax(axis=1)
        return self.classes_[best]


class TorchRegressor(RegressorMixin, TorchEstimator):
    """A network that predicts numbers for every window; its module returns shape (n_windows, n_targets).

    Training minimises the mean squared error. Targets of shape (n_windows,) come back in that shape.

    Attributes
    ----------
    n_targets_ : int
        Targets of a window.
    """

    def losses(self, module: nn.Module, batch: dict[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        from torch.nn.functional import mse_loss

        return {"loss": mse_loss(module(batch["X"]), batch["y"])}

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> Self:
        """Train on windows of shape (n_windows, n_channels, n_times) and targets (n_windows,) or (n_windows, n_targets)."""
        array, targets, groups = self._fit_data(X, y, groups)
        targets = self._columns(targets)
        self.single_target_, self.n_targets_ = np.ndim(y) == 1, targets.shape[1]
        return self._fit_network(array, targets, groups, strata=np.zeros(len(array)))

    def predict(self, X: Any, groups: Any = None) -> ndarray:
        """Targets of every window, shape (n_windows, n_targets) or, if fitted so, (n_windows,)."""
        values = self._run(X, groups).astype(np.float64)
        return values[:, 0] if self.single_target_ else values

    def _columns(self, targets: ndarray) -> ndarray:
        if targets.ndim > 2:
            raise DataError(f"Expected targets of shape (n_windows, n_targets), got {targets.shape}.")
        return targets.reshape(len(targets), -1).astype(np.float32)

    def _more_targets(self, X: Any, y: Any, n_windows: int) -> tuple[ndarray, ndarray]:
        targets = self._columns(np.asarray(y, dtype=float))
        if targets.shape != (n_windows, self.n_targets_) or not np.isfinite(targets).all():
            raise DataError(
                f"Expected finite targets of shape {(n_windows, self.n_targets_)}, got shape {targets.shape}; give what the "
                "network was fitted on."
            )
        return targets, np.zeros(n_windows)
