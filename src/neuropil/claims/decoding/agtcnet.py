"""Evidence for AGTCNet: its structure, people it has not seen, fine-tuning, what the graph attention contributes, and honest figures.

All but the first claim decode four imagined movements (two hands, feet, tongue) of simulated people: 22 electrodes at 62.5 Hz, 4-28 Hz,
the three seconds after the cue, Euclidean alignment. The network trains on six of eight people, two others choose its epoch, and
four it has not seen are decoded. The BatchNorms follow with a weight of 0.1, since the paper's 0.01 needs hundreds of batches.

Lim, Lim, Bandala, Jose, Chu & Sybingco (2025). AGTCNet. arXiv:2506.21338.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import xarray as xr
from sklearn.pipeline import make_pipeline
from torch import nn

from neuropil.alignment import EuclideanAlignment
from neuropil.claims.core import at_least, at_most, claim
from neuropil.claims.workbench import accuracy, motor_imagery, split_subjects, tuned_linear
from neuropil.decoding.agtcnet import AGTCNet, AGTCNetClassifier
from neuropil.signal.graphs import grid_graph
from neuropil.signal.montage import CH22

CLASSES = ("left_hand", "right_hand", "feet", "tongue")
# People to learn from (a quarter of them choose the epoch), people to decode, trials of each.
SIZES = {"quick": (8, 4, 96), "full": (16, 8, 96)}
EPOCHS = {"quick": 40, "full": 80}
ABLATION_EPOCHS = {"quick": 24, "full": 80}
AVERAGED_EPOCHS = 20
AT_62_HZ = {
    "kernel_size": 0.256,
    "gcat_kernel_sizes": (4, 2),
    "n_filters_global": 48,
    "global_kernel_size": 4,
    "norm_momentum": 0.1,
}
# Channels, samples, rate, classes of the authors' stored weights, whose first filters have 32 samples; their trainable parameters.
TOTALS = (
    ((22, 375, 125.0, 4), 74_213),
    ((22, 562, 125.0, 4), 76_517),
    ((64, 640, 160.0, 4), 86_525),
    ((64, 640, 160.0, 2), 83_067),
)
SIMULATED = "simulated motor imagery of four classes, 8 people x 96 trials to learn from and 4 unseen"


class _Watched(AGTCNetClassifier):
    """The same decoder, which notes its accuracy on test windows after every epoch; nothing is chosen by it."""

    test: xr.DataArray | None = None

    def fit_options(self) -> dict[str, Any]:
        return super().fit_options() | ({"each_epoch": self._look} if self.test is not None else {})

    def _look(self, module: nn.Module, epoch: int) -> Mapping[str, float]:
        assert self.test is not None
        if not hasattr(self, "_prepared"):
            ready = self.prepare_predict(self.test.values, self.test["subject"].values)
            self._prepared = torch.as_tensor(ready, dtype=torch.float32).split(64)
        predicted = torch.cat([module(windows).argmax(dim=1) for windows in self._prepared]).numpy()
        return {"test_accuracy": float(np.mean(self.classes_[predicted] == self.test["label"].values))}


def _windows(seed: int, scale: str, n_sessions: int = 1) -> tuple[xr.DataArray, xr.DataArray]:
    """Windows of the people to learn from, and of the others."""
    n_known, n_unseen, n_trials = SIZES[scale]
    X, _ = motor_imagery(
        seed,
        n_subjects=n_known + n_unseen,
        n_sessions=n_sessions,
        n_trials=n_trials,
        classes=CLASSES,
        band=(4.0, 28.0),
        factor=2,
        tmax=3.0,
    )
    return split_subjects(X, n_known)


def _settings(seed: int) -> dict[str, Any]:
    return {"validation": 0.25, "patience": None, "random_state": seed, "progress": False, **AT_62_HZ}


@lru_cache(maxsize=2)
def _trained(seed: int, scale: str) -> _Watched:
    """The network with the graph of the paper; its history holds the accuracy on unseen people after every epoch."""
    known, unseen = _windows(seed, scale)
    network = _Watched(**_settings(seed), max_epochs=EPOCHS[scale])
    network.test = unseen
    return network.fit(known)


@lru_cache(maxsize=8)
def _linear(seed: int, scale: str, name: str) -> float:
    known, unseen = _windows(seed, scale)
    decoder = make_pipeline(EuclideanAlignment(), tuned_linear()[name])
    return accuracy(decoder.fit(known, known["label"].values), unseen)


def _test_curve(network: _Watched) -> np.ndarray:
    return np.array([row["test_accuracy"] for row in network.history_])


@claim(
    sentence="The network has the published number of parameters at every published setting; without links no electrode reaches "
    "another in the graph attention, and with the grid of 22 electrodes only its neighbours.",
    source="Section III and the authors' code; parameter totals of the stored weights.",
    data="random windows",
    system="differing_totals",
    holds=(
        at_most("differing_totals", 0),
        at_most("reached_without_links", 0),
        at_most("reached_off_the_grid", 0),
        at_least("neighbours_reached", 1.0),
    ),
    seeds=1,
    full_seeds=1,
)
def structure(seed: int, scale: str) -> dict[str, float]:
    """Count parameters; change one electrode after the other and see whose output of the graph attention moves."""
    differing = 0
    for (n_chans, n_times, sfreq, n_outputs), total in TOTALS:
        network = AGTCNet(
            n_chans=n_chans,
            n_outputs=n_outputs,
            n_times=n_times,
            sfreq=sfreq,
            adjacency=np.zeros((n_chans, n_chans)),
            kernel_size=32 / sfreq,
        )
        differing += sum(p.numel() for p in network.parameters() if p.requires_grad) != total
    grid = grid_graph(CH22)
    reached = {}
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(seed)
        electrodes = torch.randn(1, 40, 22, 8)
        for name, links in (("identity", np.zeros_like(grid)), ("grid", grid)):
            network = AGTCNet(n_chans=22, n_outputs=4, n_times=375, sfreq=125.0, adjacency=links).eval()
            assert network.graph is not None
            before = network.graph(electrodes)
            moved = np.zeros((22, 22), dtype=bool)
            for k in range(22):
                changed = electrodes.clone()
                changed[:, :, k] += 1
                moved[k] = (network.graph(changed) - before).abs().amax(dim=(0, 1, 3)).numpy() > 0
            reached[name] = moved & ~np.eye(22, dtype=bool)
    return {
        "differing_totals": float(differing),
        "reached_without_links": float(reached["identity"].sum()),
        "reached_off_the_grid": float((reached["grid"] & ~grid).sum()),
        "neighbours_reached": float(reached["grid"][grid].mean()),
    }


@claim(
    sentence="People that the network has not seen are decoded well above the chance level of 0.25, after 24 epochs and at the epoch "
    "of 40 that other people choose.",
    source="Leave-one-subject-out tables of the paper (0.67 on four classes, chosen on the test windows); thresholds from a prototype.",
    data=SIMULATED,
    system="agtcnet",
    linear=("csp_lda", "tangent_space"),
    holds=(at_least("agtcnet", 0.45), at_least("after_24_epochs", 0.45)),
    unit="accuracy",
    note="People differ more here than in the prototype that the thresholds come from: without alignment, logistic regression in the "
    "tangent space scored 0.52 there, and 0.28 and 0.33 here (on two seeds that are not among these).",
)
def unseen_people(seed: int, scale: str) -> dict[str, float]:
    """Accuracy on unseen people, beside tuned linear decoders of the same aligned windows."""
    network = _trained(seed, scale)
    curve = _test_curve(network)
    scores = {"agtcnet": float(curve[network.best_epoch_]), "after_24_epochs": float(curve[23])}
    scores |= {name: _linear(seed, scale, name) for name in ("csp_lda", "tangent_space")}
    return scores | {"gap_to_csp_lda": scores["csp_lda"] - scores["agtcnet"]}


@claim(
    sentence="Fine-tuned on the first session of a person, the network decodes the second session better than the same weights without "
    "fine-tuning, and better than a network trained on that session alone.",
    source="The paper's central pair (0.67 to 0.83 on BCI Competition IV 2a); margin from its size.",
    data=f"{SIMULATED}; two sessions of every unseen person",
    system="fine_tuned",
    baselines=("zero_shot", "from_scratch"),
    linear=("csp_lda", "tangent_space"),
    holds=(at_least("fine_tuned", "zero_shot", margin=0.05), at_least("fine_tuned", "from_scratch")),
    unit="accuracy",
)
def fine_tuning(seed: int, scale: str) -> dict[str, float]:
    """Accuracy on the second session, mean over unseen people; the linear decoders learn from the first session alone.

    A session is too short to choose an epoch by a part of it: both trainings keep the last one.
    """
    network = copy(_trained(seed, scale)).set_params(validation=0.0)
    _, unseen = _windows(seed, scale, n_sessions=2)
    people, sessions = unseen["subject"].values, unseen["session"].values
    first, second = np.unique(sessions)
    rows = []
    for person in np.unique(people):
        train = unseen[np.flatnonzero((people == person) & (sessions == first))]
        test = unseen[np.flatnonzero((people == person) & (sessions == second))]
        alone = AGTCNetClassifier(**_settings(seed) | {"validation": 0.0}, max_epochs=EPOCHS[scale])
        row = {
            "fine_tuned": accuracy(network.finetune(train, max_epochs=EPOCHS[scale], each_epoch=None), test),
            "zero_shot": accuracy(network, test),
            "from_scratch": accuracy(alone.fit(train), test),
        }
        for name, decoder in tuned_linear().items():
            row[name] = accuracy(make_pipeline(EuclideanAlignment(), decoder).fit(train, train["label"].values), test)
        rows.append(row)
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


@claim(
    sentence="Without the graph attention the network decodes unseen people worse by 0.15 or more after the same number of epochs.",
    source="Ablation of the paper (reported without figures); margin from a prototype, which found 0.26 without and 0.58 with it.",
    data=SIMULATED,
    system="grid",
    baselines=("removed", "identity", "full"),
    linear=("csp_lda", "tangent_space"),
    holds=(at_least("grid", "removed", margin=0.15),),
    unit="accuracy",
    note="No threshold is set on the grid against no links or all links: in the prototype the grid was no better than no links, and all "
    "links were best.",
)
def graph_attention(seed: int, scale: str) -> dict[str, float]:
    """Accuracy on unseen people after the last of 24 epochs: four neighbours, no links, all links, and the block removed."""
    known, unseen = _windows(seed, scale)
    n_epochs = ABLATION_EPOCHS[scale]
    scores = {"grid": float(_test_curve(_trained(seed, scale))[n_epochs - 1])}
    for name, adjacency in (("removed", "none"), ("identity", "identity"), ("full", "full")):
        network = _Watched(**_settings(seed), adjacency=adjacency, max_epochs=n_epochs)
        network.test = unseen
        scores[name] = float(_test_curve(network.fit(known))[-1])
    scores |= {name: _linear(seed, scale, name) for name in ("csp_lda", "tangent_space")}
    return scores | {
        "grid_minus_identity": scores["grid"] - scores["identity"],
        "full_minus_grid": scores["full"] - scores["grid"],
    }


@claim(
    sentence="Figures chosen on the test windows exceed the honest one, at the epoch that other people choose: the best epoch, and the "
    "highest average over 20 epochs that the paper reports.",
    source="The authors' code: test windows choose the epoch and steer the learning rate, and the average is a maximum over test epochs.",
    data=SIMULATED,
    system="honest",
    baselines=("best_test_epoch", "best_20_epochs"),
    linear=("csp_lda", "tangent_space"),
    holds=(
        at_least("best_test_epoch", "best_20_epochs"),
        at_least("best_test_epoch", "honest"),
        at_least("best_20_epochs", "honest"),
    ),
    unit="accuracy",
)
def honest_figure(seed: int, scale: str) -> dict[str, float]:
    """Three figures of one training: chosen on other people, the best test epoch, the best moving average over 20 test epochs."""
    network = _trained(seed, scale)
    curve = _test_curve(network)
    averages = np.convolve(curve, np.full(AVERAGED_EPOCHS, 1 / AVERAGED_EPOCHS), mode="valid")
    scores = {
        "honest": float(curve[network.best_epoch_]),
        "best_test_epoch": float(curve.max()),
        "best_20_epochs": float(averages.max()),
    }
    return scores | {name: _linear(seed, scale, name) for name in ("csp_lda", "tangent_space")}
