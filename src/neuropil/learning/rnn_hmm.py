r"""A recurrent network driven by noise alone that speaks like a hidden Markov model, and what it has learned.

The network has no biases and starts at rest; white noise :math:`x_t \sim N(0, I)` is all that comes in, and every step draws a symbol:

.. math::
    h_t = \max(0, W_{in} x_t + W_{rec} h_{t-1}), \qquad h_0 = 0, \qquad y_t \sim \operatorname{softmax}(W_{out} h_t / \tau).

It is trained on whole sequences, not on the next symbol: the loss is the debiased Sinkhorn divergence between a batch of sequences that it
makes up and a batch of the data, each a point of n_times x n_symbols numbers, and gradients pass through the draws by the straight-through
Gumbel-softmax. What it learns is a distribution, and how: left alone it falls silent, noise holds it on an orbit, where it dwells in some
regions and is thrown through others by a few neurons. `neuropil.stats.rnn_dynamics` and `neuropil.stats.fixed_points` take it apart.

What differs from the published code: the weights of the best validation epoch are kept as a copy (there, a reference that ends as those
of the last one), and the first symbol follows the first step, in training as in sampling (there, samples start with one drawn at rest).
Since nothing is biased, noise of c times the strength makes states and logits exactly c times as large: the order of the logits does not
depend on the strength of the noise, only how surely the highest is drawn.

Torre, Viscione, Pompe, Grewe & Mante (2025). Mechanistic interpretability of RNNs emulating hidden Markov models. NeurIPS.
arXiv:2510.25674.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from numpy import ndarray
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gumbel_softmax, one_hot

from neuropil import train
from neuropil.errors import DataError, UsageError
from neuropil.findings import Findings
from neuropil.learning.rnn_hmm_findings import describe
from neuropil.learning.rnn_hmm_symbols import read_symbols
from neuropil.nn.recurrent import relu_scan
from neuropil.persistence import HoldsModule
from neuropil.stats import rnn_dynamics, rnn_neurons
from neuropil.stats.rnn_dynamics import Step
from neuropil.stats.sinkhorn import sinkhorn_divergence
from neuropil.structure import StructureModel

LOSSES = ("sinkhorn", "marginal")
LAPTOP: dict[str, Any] = {"n_hidden": 64, "n_inputs": 16, "batch_size": 256, "max_epochs": 150, "validation": 0.2}
"""Settings for a minute on one core: 150 epochs are 1500 steps where 3200 sequences are given."""


class Sample(NamedTuple):
    """Sequences that a network made up, and its states behind them.

    Attributes
    ----------
    symbols : ndarray of int, shape (n_sequences, n_times)
    hidden : ndarray of float32, shape (n_sequences, n_times, n_hidden)
        After the step that led to the symbol.
    logits : ndarray of float32, shape (n_sequences, n_times, n_symbols)
    """

    symbols: Int[ndarray, "sequence time"]
    hidden: Float32[ndarray, "sequence time unit"]
    logits: Float32[ndarray, "sequence time symbol"]


class NoiseDrivenRNN(nn.Module):
    """Rectified recurrent network without biases that draws a symbol a step.

    Parameters
    ----------
    n_hidden, n_inputs, n_symbols : int
    tau : float, default 1.0
        Temperature of the draws.
    """

    def __init__(self, n_hidden: int, n_inputs: int, n_symbols: int, tau: float = 1.0) -> None:
        super().__init__()
        bound = n_hidden**-0.5
        self.input_weights = nn.Parameter(torch.empty(n_hidden, n_inputs).uniform_(-bound, bound))
        self.recurrent_weights = nn.Parameter(torch.empty(n_hidden, n_hidden).uniform_(-bound, bound))
        self.output_weights = nn.Parameter(torch.empty(n_symbols, n_hidden).uniform_(-bound, bound))
        self.tau = tau

    def states(self, noise: Float32[Tensor, "batch time input"]) -> Float32[Tensor, "batch time hidden"]:
        """States after every step, from rest."""
        return self._scan(noise).transpose(0, 1)

    def _scan(self, noise: Tensor) -> Tensor:
        """Time first, as the scan runs; a view of the batch first costs nothing, a copy does."""
        drive = noise.transpose(0, 1) @ self.input_weights.T
        return relu_scan(drive, self.recurrent_weights, torch.zeros_like(drive[0]))

    def forward(
        self, noise: Float32[Tensor, "batch time input"]
    ) -> tuple[
        Float32[Tensor, "batch time symbol"],
        Float32[Tensor, "batch time hidden"],
        Float32[Tensor, "batch time symbol"],
    ]:
        """One-hot draws (straight through), states and logits; draws from torch's global generator."""
        hidden = self._scan(noise)
        logits = (hidden @ self.output_weights.T).transpose(0, 1)
        return gumbel_softmax(logits, tau=self.tau, hard=True), hidden.transpose(0, 1), logits


class HMMEmulatorRNN(HoldsModule, StructureModel):
    """Network driven by noise whose sequences of symbols are distributed as the data are.

    Parameters
    ----------
    n_hidden, n_inputs : int, default 150 and 100
        Neurons, and channels of noise.
    loss : {"sinkhorn", "marginal"}
        The published loss; or the cross-entropy of the symbols of each step, which knows nothing of their order (a baseline).
    blur : float, default 0.2
        Of the Sinkhorn divergence.
    tau : float, default 1.0
        Temperature of the draws.
    lr, grad_clip : float, default 1e-3 and 0.9
        Of Adam (moments 0.9 and 0.9); 0.3 is published for fully connected and cyclic models.
    batch_size, max_epochs : int, default 4096 and 500
        As published, with 10000 training sequences (1000 epochs for the fully connected model); `LAPTOP` holds settings for a laptop.
    validation : float, default 0.5
        Share of the sequences, the last ones, by which the best epoch is chosen.
    track_every : int, optional
        Epochs after which the rate of switches and the spectrum along the orbit are recorded in the history.
    n_symbols : int, optional
        By default one more than the highest symbol seen.
    random_state : int, RandomState or None
    progress : bool, optional
    checkpoint : str, optional
        File from which an interrupted fit goes on.

    Attributes
    ----------
    module_ : NoiseDrivenRNN
    n_symbols_, n_times_ : int
        Of the data.
    W_in_, W_rec_, W_out_ : ndarray of float64, shape (n_hidden, n_inputs), (n_hidden, n_hidden) and (n_symbols, n_hidden)
        Weights as ``W[post, pre]``.
    history_ : list of dict
        Losses of every epoch.
    objective_ : ndarray of shape (n_epochs,)
        Validation loss. It is estimated with fresh noise every epoch and may rise.
    best_epoch_ : int
        The epoch whose weights were kept.
    interrupted_ : bool

    Examples
    --------
    >>> from neuropil.simulate.symbols import linear_chain
    >>> symbols = linear_chain(2).simulate(64, 10, random_state=0).symbols
    >>> model = HMMEmulatorRNN(n_hidden=8, n_inputs=4, batch_size=32, max_epochs=2, random_state=0).fit(symbols)
    >>> model.sample(5, 20, random_state=0).symbols.shape
    (5, 20)
    """

    def __init__(
        self,
        n_hidden: int = 150,
        n_inputs: int = 100,
        *,
        loss: str = "sinkhorn",
        blur: float = 0.2,
        tau: float = 1.0,
        lr: float = 1e-3,
        grad_clip: float = 0.9,
        batch_size: int = 4096,
        max_epochs: int = 500,
        validation: float = 0.5,
        track_every: int | None = None,
        n_symbols: int | None = None,
        random_state: Any = None,
        progress: bool | None = None,
        checkpoint: str | None = None,
    ) -> None:
        self.n_hidden = n_hidden
        self.n_inputs = n_inputs
        self.loss = loss
        self.blur = blur
        self.tau = tau
        self.lr = lr
        self.grad_clip = grad_clip
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.validation = validation
        self.track_every = track_every
        self.n_symbols = n_symbols
        self.random_state = random_state
        self.progress = progress
        self.checkpoint = checkpoint

    def fit(self, X: Any, y: Any = None) -> HMMEmulatorRNN:
        """Train on sequences of symbols.

        Parameters
        ----------
        X : ndarray of int (n_sequences, n_times), one-hot ndarray (n_sequences, n_times, n_symbols), stream, Recording or list of them
            Symbols 0 .. n_symbols - 1; a recording with events "trial" gives one sequence a trial, and all must have one length.
        y : ignored

        Raises
        ------
        DataError
            If these are no such symbols, or too few sequences to train and to validate.
        UsageError
            If a setting cannot be.
        """
        self._check()
        symbols = read_symbols(X)
        highest = int(symbols.max()) + 1
        self.n_symbols_ = self.n_symbols or max(highest, 2)
        if highest > self.n_symbols_:
            raise DataError(
                f"The data hold symbol {highest - 1}, but n_symbols is {self.n_symbols}; raise it or leave it out."
            )
        n_held = round(self.validation * len(symbols))
        if min(n_held, len(symbols) - n_held) < 2:
            raise DataError(
                f"Expected two sequences or more to train and two to validate, got {len(symbols)} with validation={self.validation:g}; "
                "cut the recording into more trials."
            )
        self.unit_names_, self.n_units_, self.sfreq_ = ("symbol",), 1, None
        self.n_times_ = symbols.shape[1]
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.seed_ = seed
        data = self._one_hot(symbols)
        with train.seeded(seed):
            self.module_ = self._build_anew()
            result = train.fit(
                self.module_,
                self.losses,
                {"Y": data[: len(data) - n_held]},
                validation={"Y": data[len(data) - n_held :]},
                max_epochs=self.max_epochs,
                batch_size=self.batch_size,
                max_grad_norm=self.grad_clip,
                make_optimizer=lambda module: torch.optim.Adam(module.parameters(), self.lr, (0.9, 0.9)),
                each_epoch=None if self.track_every is None else self._track,
                seed=seed,
                checkpoint=self.checkpoint,
                progress=self.progress,
                title=type(self).__name__,
            )
        self.history_, self.best_epoch_, self.interrupted_ = result
        self.objective_ = np.array([row["validation_loss"] for row in self.history_])
        return self

    def _build_anew(self) -> NoiseDrivenRNN:
        return NoiseDrivenRNN(self.n_hidden, self.n_inputs, self.n_symbols_, self.tau)

    def noise(self, n_sequences: int, n_times: int) -> Float32[Tensor, "sequence time input"]:
        """What drives the network, drawn from torch's global generator."""
        return torch.randn(n_times, n_sequences, self.n_inputs).transpose(0, 1)

    def losses(self, module: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The loss of a batch of one-hot sequences `Y`, against as many that the network makes up of fresh noise."""
        target = batch["Y"]
        drawn, _, logits = module(self.noise(len(target), target.shape[1]).to(target.device))
        if self.loss == "marginal":
            return {"loss": cross_entropy(logits.flatten(0, 1), target.flatten(0, 1))}
        return {"loss": sinkhorn_divergence(drawn.flatten(1), target.flatten(1), blur=self.blur)}

    @property
    def W_in_(self) -> ndarray:  # noqa: N802
        return self._weights("input_weights")

    @property
    def W_rec_(self) -> ndarray:  # noqa: N802
        return self._weights("recurrent_weights")

    @property
    def W_out_(self) -> ndarray:  # noqa: N802
        return self._weights("output_weights")

    def _weights(self, name: str) -> ndarray:
        if not hasattr(self, "module_"):
            raise AttributeError(f"{type(self).__name__} has no weights before it is fitted; call fit first.")
        return getattr(self.module_, name).detach().numpy().astype(np.float64)

    def step(self, *, recurrent_gain: Any = 1.0, input_gain: Any = 1.0) -> Step:
        """The map from state and noise to the next state, for `neuropil.stats.rnn_dynamics`.

        Parameters
        ----------
        recurrent_gain, input_gain : float or array-like of shape (n_hidden,)
            Factors on what reaches a neuron from the others, and from the noise.
        """
        check_is_fitted(self)
        inner, outer = (torch.as_tensor(np.array(w)) for w in (self.W_rec_, self.W_in_))
        inner = torch.as_tensor(np.broadcast_to(recurrent_gain, self.n_hidden).copy())[:, None] * inner
        outer = torch.as_tensor(np.broadcast_to(input_gain, self.n_hidden).copy())[:, None] * outer

        def step(states: Tensor, noise: Tensor) -> Tensor:
            return torch.relu(states @ inner.T.to(states.dtype) + noise @ outer.T.to(states.dtype))

        return step

    def readout(self, states: Float[ndarray, "*shape unit"]) -> Float[ndarray, "*shape symbol"]:
        """Logits of states."""
        check_is_fitted(self)
        return states @ self.W_out_.T

    def sample(
        self, n_sequences: int, n_times: int | None = None, *, noise_scale: float = 1.0, random_state: Any = None
    ) -> Sample:
        """Make up sequences.

        Parameters
        ----------
        n_sequences : int
        n_times : int, optional
            By default as in the data.
        noise_scale : float, default 1.0
            Standard deviation of the noise.
        random_state : int, RandomState or None
        """
        check_is_fitted(self)
        n_times = self.n_times_ if n_times is None else n_times
        if n_sequences < 1 or n_times < 1 or not noise_scale >= 0:
            raise UsageError(
                f"Expected one sequence or more, one step or more and noise_scale >= 0, got {n_sequences}, {n_times} and {noise_scale}."
            )
        with train.seeded(int(check_random_state(random_state).randint(2**31 - 1))), torch.inference_mode():
            drawn, hidden, logits = self.module_(noise_scale * self.noise(n_sequences, n_times))
        return Sample(drawn.argmax(dim=-1).numpy(), hidden.contiguous().numpy(), logits.contiguous().numpy())

    def score(self, X: Any, y: Any = None) -> float:
        """The negative Sinkhorn divergence between sequences and as many made up, so that more is better.

        Means over batches of `batch_size`; a smaller batch has a larger divergence, so compare scores of equal numbers of sequences.
        The same at every call.
        """
        check_is_fitted(self)
        data = self._one_hot(self._symbols(X))
        with train.seeded(self.seed_), torch.inference_mode():
            values = []
            for part in data.split(self.batch_size):
                drawn, _, _ = self.module_(self.noise(len(part), part.shape[1]))
                divergence = sinkhorn_divergence(drawn.flatten(1), part.flatten(1), blur=self.blur)
                values.append(float(divergence) * len(part))
        return -sum(values) / len(data)

    def held_out(self, X: Any, n_folds: int = 4, random_state: int | None = 0) -> Iterator[tuple[ndarray, ndarray]]:
        """Sequences to train on and others to score, `n_folds` times: what model choice holds out; nothing is drawn."""
        symbols = read_symbols(X)
        if len(symbols) < n_folds:
            raise DataError(
                f"Holding out {n_folds} times needs as many sequences, got {len(symbols)}; choose fewer folds."
            )
        for part in np.array_split(np.arange(len(symbols)), n_folds):
            yield np.delete(symbols, part, axis=0), symbols[part]

    def findings(self, X: Any) -> Findings:
        """How well the made-up sequences behave like the data, and the dynamics behind them."""
        return describe(self, self._symbols(X))

    def _track(self, module: nn.Module, epoch: int) -> dict[str, float]:
        if epoch % int(self.track_every or 1):
            return {}
        hidden = self.module_.states(self.noise(10, 100))
        labels = (hidden @ self.module_.output_weights.T).argmax(dim=-1).numpy()
        states = hidden[0, 50:].double().numpy()
        with torch.inference_mode(False):
            spectrum = rnn_dynamics.jacobian_spectrum(self.step(), states, self.n_inputs)
        return {
            "switch_rate": rnn_neurons.switch_rate(labels),
            "n_unstable": float(spectrum.n_unstable.mean()),
            "n_critical": float(spectrum.n_critical.mean()),
        }

    def _symbols(self, X: Any) -> ndarray:
        check_is_fitted(self)
        symbols = read_symbols(X)
        if symbols.max() >= self.n_symbols_:
            raise DataError(
                f"{type(self).__name__} was fitted on {self.n_symbols_} symbols, these data hold symbol {symbols.max()}; "
                "fit with n_symbols or leave such sequences out."
            )
        return symbols

    def _one_hot(self, symbols: ndarray) -> Tensor:
        return one_hot(torch.as_tensor(symbols), self.n_symbols_).to(torch.float32)

    def _check(self) -> None:
        self._check_random_state(np.random.RandomState)
        if self.loss not in LOSSES:
            raise UsageError(f"loss must be one of {', '.join(LOSSES)}, got {self.loss!r}.")
        self._check_whole(1, "n_inputs", "batch_size", "max_epochs", "track_every")
        self._check_whole(2, "n_hidden", "n_symbols")
        for name in ("blur", "tau", "lr", "grad_clip"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be positive, got {getattr(self, name)}.")
        if not 0 < self.validation < 1:
            raise UsageError(f"validation must be a share between 0 and 1, got {self.validation}.")
