"""Evidence for RBTransformer: its structure, what its published protocol measures, and what attention among electrodes adds.

All but the first claim use simulated emotions: stimuli of 28 s, 32 electrodes at 128 Hz, windows of 4 s. Every trial has a state of its
own in the power of all rhythms, whatever its label. Accuracies are of windows, in folds of whole trials, or of windows in random order
as in the paper's evaluation. Networks are small (one block of 4 heads, 32 features, 18,114 parameters); nothing is chosen by looking at
test windows.

Bhatnagar et al. (2025). A brain wave encodes a thousand tokens. arXiv:2511.13954.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy import ndarray
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neuropil.claims.core import at_least, at_most, between, claim
from neuropil.datasets.simulated import load_emotion
from neuropil.decoding.band_entropy import window_entropy
from neuropil.decoding.rbtransformer import RBTransformer, RBTransformerClassifier
from neuropil.evaluate.trials import vote
from neuropil.windowing import windows

EFFECTS = {"null": (0.0, 0.0), "marginal": (0.2, 0.0), "interaction": (0.0, 0.6), "overlap": (0.2, 0.0)}
# people and trials of each
SIZES = {"null": (3, 20), "marginal": (4, 24), "interaction": (4, 24), "overlap": (3, 20)}
N_FOLDS = 5
# 117 of 512 samples, the paper's step
STEP_S = 117 / 128
EPOCHS = {"quick": 15, "full": 30}
# learning by heart takes longer than learning; with two folds it is affordable (the paper: 300 epochs, five folds)
NULL_EPOCHS = {"quick": 100, "full": 300}
NULL_FOLDS = {"quick": 2, "full": 5}
LAPTOP: dict[str, Any] = {"embed_dim": 32, "depth": 1, "num_heads": 4, "head_dim": 8, "mlp_hidden_dim": 64, "lr": 2e-3}
# Electrodes, classes, options, and the parameters of the published weights; the last one is the size of the latest training script.
TOTALS: tuple[tuple[int, int, dict[str, Any], int], ...] = (
    (14, 2, {}, 662_530),
    (32, 9, {}, 665_737),
    (14, 2, {"depth": 0}, 134_658),
    (32, 2, {"embed_dim": 256, "depth": 6, "num_heads": 8, "mlp_hidden_dim": 1024}, 5_270_018),
)
SIMULATED = "simulated emotions, {} people x {} trials, {}"


class Features(NamedTuple):
    """Band entropies of windows, their labels, and the trial of each (numbered over all people)."""

    X: ndarray
    y: ndarray
    trial: ndarray


@lru_cache(maxsize=8)
def _features(seed: int, effect: str, step_s: float | None = STEP_S) -> Features:
    (eff, inter), (n_subjects, n_trials) = EFFECTS[effect], SIZES[effect]
    X = windows(load_emotion(n_subjects, 1, n_trials, eff=eff, inter=inter, step_s=step_s, seed=seed))
    trial = X["recording"].values * n_trials + X["trial"].values
    entropies = window_entropy(X.values, float(X.attrs["sfreq"]))
    return Features(entropies, X["label"].values.astype(str), trial)


def _folds(features: Features, seed: int, protocol: str, n_folds: int = N_FOLDS) -> list[tuple[ndarray, ndarray]]:
    """Folds of whole trials, or of windows in random order."""
    if protocol == "trial":
        by_trial = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
        return list(by_trial.split(features.X, features.y, features.trial))
    return list(StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(features.X, features.y))


def _network(seed: int, scale: str, **options: Any) -> RBTransformerClassifier:
    settings = {"batch_size": 64, "max_epochs": EPOCHS[scale], "random_state": seed, "progress": False}
    return RBTransformerClassifier(**{**LAPTOP, **settings, **options})


def _logistic(train: Features, seed: int, protocol: str) -> Any:
    """Logistic regression on all entropies, its penalty chosen in inner folds of the same protocol."""
    inner = _folds(train, seed, protocol)[:3]
    search = LogisticRegressionCV(
        Cs=np.logspace(-4, 1, 6),
        cv=inner,
        max_iter=300,
        scoring="accuracy",
        l1_ratios=(0.0,),
        use_legacy_attributes=False,
    )
    return make_pipeline(StandardScaler(), search).fit(_flat(train.X), train.y)


def _nearest(train: Features) -> Any:
    return make_pipeline(StandardScaler(), KNeighborsClassifier(1)).fit(_flat(train.X), train.y)


def _flat(X: ndarray) -> ndarray:
    return X.reshape(len(X), -1)


def _probabilities(
    fit: Callable[[Features], Any],
    features: Features,
    seed: int,
    protocol: str = "trial",
    n_folds: int = N_FOLDS,
    *,
    flat: bool = False,
) -> ndarray:
    """Probability of the class "high" of every window, from the fold in which it was tested."""
    result = np.zeros(len(features.y))
    for train, test in _folds(features, seed, protocol, n_folds):
        model = fit(Features(*(part[train] for part in features)))
        proba = model.predict_proba(_flat(features.X[test]) if flat else features.X[test])
        result[test] = proba[:, list(model.classes_).index("high")]
    return result


def _accuracy(high: ndarray, y: ndarray) -> float:
    return float(np.mean((high > 0.5) == (y == "high")))


def _voted(high: ndarray, features: Features) -> float:
    """Accuracy of trials, each decided by the mean probability of its windows."""
    votes = vote(np.stack([1 - high, high], axis=1), features.trial)
    return _accuracy(votes.probabilities[:, 1], features.y[votes.first_window])


def _network_high(
    features: Features, seed: int, scale: str, protocol: str = "trial", n_folds: int = N_FOLDS, **options: Any
) -> ndarray:
    return _probabilities(
        lambda train: _network(seed, scale, **options).fit(train.X, train.y), features, seed, protocol, n_folds
    )


def _logistic_high(features: Features, seed: int, protocol: str = "trial", n_folds: int = N_FOLDS) -> ndarray:
    return _probabilities(lambda train: _logistic(train, seed, protocol), features, seed, protocol, n_folds, flat=True)


def _baselines(features: Features, seed: int, protocol: str = "trial", n_folds: int = N_FOLDS) -> dict[str, float]:
    nearest = _probabilities(_nearest, features, seed, protocol, n_folds, flat=True)
    return {
        "logistic": _accuracy(_logistic_high(features, seed, protocol, n_folds), features.y),
        "nearest_neighbour": _accuracy(nearest, features.y),
    }


@claim(
    sentence="The network has the published number of parameters; permuting the electrodes together with their vectors leaves its output "
    "as it is, without vectors any permutation does, and permuting the electrodes alone changes it.",
    source="Section on the architecture and the authors' code; sizes of the released weights.",
    data="random entropies",
    system="differing_totals",
    holds=(
        at_most("differing_totals", 0),
        at_most("joint_permutation", 1e-4),
        at_most("permutation_without_vectors", 1e-4),
        at_least("permutation_of_electrodes_alone", 0.1),
    ),
    seeds=1,
    full_seeds=1,
    unit="largest change, in standard deviations of a logit over windows",
    note="Given the authors' parameters, the network returns their module's logits to 2e-8 and its gradients to 1e-16 (checked once).",
)
def structure(seed: int, scale: str) -> dict[str, float]:
    """Count parameters; permute electrodes, their vectors, or both."""
    differing = 0
    for n_chans, n_outputs, options, total in TOTALS:
        network = RBTransformer(n_chans=n_chans, n_outputs=n_outputs, **options)
        differing += sum(parameter.numel() for parameter in network.parameters()) != total
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(seed)
        network, blind = (
            RBTransformer(n_chans=32, n_outputs=2, identity_embedding=known).eval() for known in (True, False)
        )
        x, order = torch.randn(64, 32, 4), torch.randperm(32)
        before, spread = network(x), float(network(x).std(dim=0).mean())
        alone = float((network(x[:, order]) - before).abs().max()) / spread
        vectors = dict(network.named_parameters())["electrode_embedding.embedding"]
        vectors.copy_(vectors[:, order].clone())
        joint = float((network(x[:, order]) - before).abs().max()) / spread
        without = float((blind(x[:, order]) - blind(x)).abs().max() / blind(x).std(dim=0).mean())
    return {
        "differing_totals": float(differing),
        "joint_permutation": joint,
        "permutation_without_vectors": without,
        "permutation_of_electrodes_alone": alone,
    }


@claim(
    sentence="Random folds over windows, the paper's protocol, score far above chance on labels that say nothing; folds of whole trials "
    "score 0.50 within 0.08.",
    source="Five-fold evaluation of the authors' code (shuffled windows of all people and trials).",
    data=SIMULATED.format(*SIZES["null"], "labels that say nothing"),
    system="network_random_windows",
    baselines=("network_trials", "nearest_neighbour_random_windows", "nearest_neighbour_trials"),
    linear=("logistic_random_windows", "logistic_trials"),
    holds=(at_least("network_random_windows", 0.80), *between("network_trials", 0.42, 0.58)),
    seeds=5,
    unit="accuracy",
    note="The paper reports random windows: its scores contain what is measured here, and cannot be compared with those of whole trials.",
)
def the_protocol_leaks(seed: int, scale: str) -> dict[str, float]:
    """Both protocols side by side on the same windows."""
    features = _features(seed, "null")
    scores = {}
    for name, protocol in (("random_windows", "random"), ("trials", "trial")):
        n_folds = NULL_FOLDS[scale]
        high = _network_high(features, seed, scale, protocol, n_folds, max_epochs=NULL_EPOCHS[scale])
        scores[f"network_{name}"] = _accuracy(high, features.y)
        scores |= {f"{key}_{name}": value for key, value in _baselines(features, seed, protocol, n_folds).items()}
    return scores


@claim(
    sentence="Where single electrodes carry the state, the network decodes windows of unseen trials with an accuracy of 0.65 or more, not "
    "worse than logistic regression on the same entropies by more than 0.05.",
    source="Results of the paper, under a split that keeps trials whole.",
    data=SIMULATED.format(*SIZES["marginal"], "frontal alpha asymmetry and temporal gamma gain of 0.2"),
    system="network",
    baselines=("nearest_neighbour", "network_voted"),
    linear=("logistic",),
    holds=(at_least("network", 0.65), at_least("network", "logistic", margin=-0.05)),
    seeds=6,
    unit="accuracy",
)
def decodes_single_electrodes(seed: int, scale: str) -> dict[str, float]:
    """Trial-grouped accuracy on marginal effects; voted: of whole trials, by the mean over their windows."""
    features = _features(seed, "marginal")
    high = _network_high(features, seed, scale)
    scores = {"network": _accuracy(high, features.y), "network_voted": _voted(high, features)}
    return scores | _baselines(features, seed)


@claim(
    sentence="Where two temporal sources move together in one state and in opposition in the other, attention gains 0.15 or more over the "
    "network without attention blocks, and 0.10 or more over logistic regression.",
    source="Ablation of the inter-cortical attention.",
    data=SIMULATED.format(*SIZES["interaction"], "interaction of two temporal gamma sources of 0.6"),
    system="network",
    baselines=("network_without_attention", "nearest_neighbour"),
    linear=("logistic",),
    holds=(at_least("network", "network_without_attention", margin=0.15), at_least("network", "logistic", margin=0.10)),
    seeds=5,
    unit="accuracy",
    note="Without blocks the network is a function of the mean over electrodes, which its perceptron reads freely; two sources that move "
    "together move that mean, so that this interaction is not hidden from it. The next claim takes the mean away.",
)
def attention_for_interactions(seed: int, scale: str) -> dict[str, float]:
    """Trial-grouped accuracy on an interaction, with and without attention blocks."""
    features = _features(seed, "interaction")
    return _with_and_without_attention(features, seed, scale) | _baselines(features, seed)


def _with_and_without_attention(features: Features, seed: int, scale: str) -> dict[str, float]:
    return {
        "network": _accuracy(_network_high(features, seed, scale), features.y),
        "network_without_attention": _accuracy(_network_high(features, seed, scale, depth=0), features.y),
    }


@claim(
    sentence="Where the mean over electrodes is taken off every band of every window, so that only the pattern over electrodes is left, "
    "attention gains 0.15 or more over the network without attention blocks, and 0.10 or more over logistic regression.",
    source="What the ablation is about: without blocks, the network is a function of the mean over electrodes.",
    data=SIMULATED.format(*SIZES["interaction"], "interaction of two temporal gamma sources of 0.6"),
    system="network",
    baselines=("network_without_attention", "nearest_neighbour"),
    linear=("logistic",),
    holds=(at_least("network", "network_without_attention", margin=0.15), at_least("network", "logistic", margin=0.10)),
    seeds=5,
    unit="accuracy",
)
def attention_for_patterns(seed: int, scale: str) -> dict[str, float]:
    """The interaction again, without what the mean over electrodes says."""
    features = _features(seed, "interaction")
    features = features._replace(X=features.X - features.X.mean(axis=1, keepdims=True))
    return _with_and_without_attention(features, seed, scale) | _baselines(features, seed)


@claim(
    sentence="Overlapping windows add nothing that is honest: steps of 117 and of 512 samples differ by less than 0.03 on unseen trials, "
    "while the accuracy of random windows falls without overlap.",
    source="Ablation of the step between windows (the authors trained at 512, 256, 128, 64 and 32 samples).",
    data=SIMULATED.format(*SIZES["overlap"], "frontal alpha asymmetry and temporal gamma gain of 0.2"),
    system="trials_step_117",
    baselines=("trials_step_512", "random_windows_step_117", "random_windows_step_512"),
    linear=("logistic_trials_step_117", "logistic_trials_step_512"),
    holds=(*between("gain_of_overlap", -0.03, 0.03), at_least("random_windows_step_117", "random_windows_step_512")),
    unit="accuracy",
    note="At both steps the network sees the same number of batches.",
)
def overlap_adds_nothing(seed: int, scale: str) -> dict[str, float]:
    """Both protocols at both steps."""
    scores = {}
    sizes = {step: len(_features(seed, "overlap", step_s).y) for step, step_s in (("117", STEP_S), ("512", None))}
    for step, step_s in (("117", STEP_S), ("512", None)):
        features = _features(seed, "overlap", step_s)
        epochs = round(EPOCHS[scale] * sizes["117"] / sizes[step])
        for name, protocol in (("trials", "trial"), ("random_windows", "random")):
            high = _network_high(features, seed, scale, protocol, max_epochs=epochs)
            scores[f"{name}_step_{step}"] = _accuracy(high, features.y)
        scores[f"logistic_trials_step_{step}"] = _accuracy(_logistic_high(features, seed), features.y)
    scores["gain_of_overlap"] = scores["trials_step_117"] - scores["trials_step_512"]
    return scores
