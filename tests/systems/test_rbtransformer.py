"""RBTransformer: published totals, what permutations of electrodes do, attention, training, saving, live decoding, refusals."""

import builtins
import warnings

import numpy as np
import pytest
import torch
import xarray as xr
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from neuropil import decoding, train
from neuropil.datasets import load
from neuropil.decoding.band_entropy import BandDifferentialEntropy
from neuropil.decoding.rbtransformer import (
    RBTransformer,
    RBTransformerClassifier,
    RBTransformerDecoder,
    _oversampled,
)
from neuropil.errors import DataError, MissingExtraError, UsageError
from neuropil.evaluate.splits import TrialFolds
from neuropil.evaluate.trials import vote
from neuropil.stream.decoder import StreamingDecoder, replay
from neuropil.windowing import windows

SMALL = {"embed_dim": 16, "depth": 1, "num_heads": 2, "head_dim": 8, "mlp_hidden_dim": 16, "lr": 3e-3, "batch_size": 16}
SMALL |= {"max_epochs": 3, "random_state": 0, "progress": False}
SFREQ = 128.0


def network(**options):
    torch.manual_seed(0)
    return RBTransformer(**{"n_chans": 6, "n_outputs": 2, **options}).eval()


def total(**options):
    return sum(parameter.numel() for parameter in network(**options).parameters())


def separable(n=120, seed=0):
    """Power in one band of one electrode tells the classes apart."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat(["high", "low"], n // 2))
    X = rng.normal(size=(n, 6, 4))
    X[y == "high", 2, 3] += 3
    return X, y


def trials(n=24, names=("F3", "Fz", "F4"), n_times=256, seed=0):
    rng = np.random.default_rng(seed)
    y = np.tile(["low", "high"], n // 2)
    X = rng.normal(size=(n, len(names), n_times))
    wave = np.sin(2 * np.pi * 10 * np.arange(n_times) / SFREQ)
    X[y == "high", 0] += 3 * wave
    X[y == "low", -1] += 3 * wave
    coords = {"label": ("window", y), "channel": list(names), "time": np.arange(n_times) / SFREQ}
    return xr.DataArray(X, dims=("window", "channel", "time"), coords=coords, attrs={"sfreq": SFREQ})


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ({"n_chans": 14, "n_outputs": 2}, 662_530),
        ({"n_chans": 32, "n_outputs": 9}, 665_737),
        ({"n_chans": 14, "n_outputs": 2, "depth": 0}, 134_658),
        ({"n_chans": 14, "n_outputs": 2, "identity_embedding": False}, 662_530 - 14 * 128),
        (
            {"n_chans": 32, "n_outputs": 2, "embed_dim": 256, "depth": 6, "num_heads": 8, "mlp_hidden_dim": 1024},
            5_270_018,
        ),
    ],
)
def test_totals_are_those_of_the_published_weights(options, parameters):
    assert total(**options) == parameters


def test_electrodes_are_known_by_their_vectors_alone():
    x, order = torch.randn(5, 6, 4), torch.tensor([3, 1, 5, 0, 2, 4])
    net = network()
    with torch.inference_mode():
        before = net(x)
        assert (net(x[:, order]) - before).abs().max() > 1e-3
        embedding = net.electrode_embedding.embedding
        embedding.copy_(embedding[:, order].clone())
        torch.testing.assert_close(net(x[:, order]), before, atol=1e-5, rtol=1e-4)
        blind = network(identity_embedding=False)
        torch.testing.assert_close(blind(x[:, order]), blind(x), atol=1e-5, rtol=1e-4)


def test_without_blocks_only_the_mean_over_electrodes_counts():
    x = torch.randn(5, 6, 4)
    shuffled = torch.stack([x[:, torch.randperm(6), band] for band in range(4)], dim=-1)
    shallow, deep = network(depth=0), network(depth=1)
    with torch.inference_mode():
        torch.testing.assert_close(shallow(shuffled), shallow(x), atol=1e-5, rtol=1e-4)
        assert (deep(shuffled) - deep(x)).abs().max() > 1e-3


def test_attention_is_what_the_blocks_use():
    """By hand from the parameters of the first block: softmax of scaled products, rows that sum to 1."""
    X, y = separable(20)
    fitted = RBTransformerClassifier(**SMALL | {"depth": 2}).fit(X, y)
    maps = fitted.attention(X)
    assert maps.shape == (20, 2, 2, 6, 6)
    np.testing.assert_allclose(maps.sum(axis=-1), 1, rtol=1e-5)
    state = {name: value.numpy().astype(float) for name, value in fitted.module_.state_dict().items()}
    tokens = X @ state["token_projection.weight"].T + state["token_projection.bias"]
    tokens = tokens + state["electrode_embedding.embedding"]
    centred = tokens - tokens.mean(-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    normed = normed * state["encoder.blocks.0.attention_norm.weight"] + state["encoder.blocks.0.attention_norm.bias"]
    query, key, _ = np.split(normed @ state["encoder.blocks.0.attention.query_key_value.weight"].T, 3, axis=-1)
    for head in range(2):
        part = slice(8 * head, 8 * head + 8)
        scores = np.exp(query[..., part] @ key[..., part].swapaxes(-1, -2) / np.sqrt(8))
        np.testing.assert_allclose(maps[:, 0, head], scores / scores.sum(-1, keepdims=True), atol=1e-5)
    assert fitted.transform(X).shape == (20, 16)


def test_learns_what_an_electrode_shows():
    X, y = separable()
    fitted = RBTransformerClassifier(**SMALL | {"max_epochs": 25}).fit(X, y)
    new, truth = separable(seed=1)
    assert fitted.score(new, truth) > 0.85
    assert fitted.history_[-1]["loss"] < 0.5 * fitted.history_[0]["loss"]


def test_attention_sees_what_two_electrodes_do_together():
    """Two electrodes move together or in opposition, and a third makes up for them: the mean over electrodes stays the same."""

    def joint(n, seed):
        rng = np.random.default_rng(seed)
        first, same = rng.choice([-1.0, 1.0], n), rng.choice([-1.0, 1.0], n)
        X = 0.1 * rng.normal(size=(n, 6, 1))
        X[:, 1, 0] += first
        X[:, 4, 0] += first * same
        return X - X.mean(axis=1, keepdims=True), np.where(same > 0, "together", "apart")

    settings = SMALL | {"max_epochs": 20, "num_heads": 4, "batch_size": 50, "lr": 1e-2}
    scores = [
        RBTransformerClassifier(**settings | {"depth": k}).fit(*joint(400, 0)).score(*joint(200, 1)) for k in (0, 1)
    ]
    assert scores[0] < 0.6
    assert scores[1] > 0.9


def test_one_optimiser_and_one_cosine_run_through_both_halves(monkeypatch):
    seen = []
    original = train.fit

    def spy(module, losses, data, **options):
        kept = {}

        def make_optimizer(module):
            kept["optimizer"] = options["make_optimizer"](module)
            return kept["optimizer"]

        def watched(module, batch):
            moments = kept["optimizer"].state.get(next(iter(module.parameters())), {}).get("step", torch.tensor(0.0))
            seen.append((kept["optimizer"].param_groups[0]["lr"], len(batch["y"]), int(moments)))
            return losses(module, batch)

        return original(module, watched, data, **options | {"make_optimizer": make_optimizer})

    monkeypatch.setattr(train, "fit", spy)
    X, y = separable(40)
    fitted = RBTransformerClassifier(**SMALL | {"max_epochs": 5, "batch_size": 20, "final_batch_size": 10}).fit(X, y)
    assert [row["epoch"] for row in fitted.history_] == [0, 1, 2, 3, 4]
    assert [size for _, size, _ in seen] == [20] * 4 + [10] * 12
    assert [steps for _, _, steps in seen] == list(range(16))
    reference = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=SMALL["lr"])
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(reference, T_max=5, eta_min=1e-5)
    expected = []
    for n_batches in (2, 2, 4, 4, 4):
        expected += [reference.param_groups[0]["lr"]] * n_batches
        reference.step()
        cosine.step()
    np.testing.assert_allclose([lr for lr, _, _ in seen], expected, rtol=1e-9)


def test_one_batch_size_is_one_call_and_finetuning_goes_on():
    X, y = separable(40)
    fitted = RBTransformerClassifier(**SMALL | {"final_batch_size": None, "max_epochs": 2}).fit(X, y)
    before = fitted.predict_proba(X)
    tuned = fitted.finetune(X[:20], y[:20], lr=1e-2, max_epochs=3)
    assert len(tuned.history_) == 3
    assert np.abs(tuned.predict_proba(X) - before).max() > 1e-3
    np.testing.assert_array_equal(fitted.predict_proba(X), before)


def test_rare_classes_weigh_more_unless_they_are_filled_up(monkeypatch):
    X, y = separable(40)
    rare = np.r_[np.flatnonzero(y == "low"), np.flatnonzero(y == "high")[:5]]
    fitted = RBTransformerClassifier(**SMALL).fit(X[rare], y[rare])
    np.testing.assert_allclose(fitted.class_weights_, [25 / (2 * 5), 25 / (2 * 20)])
    real_import = builtins.__import__

    def without_imblearn(name, *args, **kwargs):
        if name.startswith("imblearn"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_imblearn)
    monkeypatch.setattr("importlib.import_module", lambda name: without_imblearn(name))
    with pytest.raises(
        MissingExtraError, match=r"'imblearn', which is not installed; run `pip install 'neuropil\[resampling\]'`"
    ):
        RBTransformerClassifier(**SMALL | {"resampling": "smote"}).fit(X, y)


def test_smote_fills_up_the_rare_class_between_its_windows():
    pytest.importorskip("imblearn")
    X, y = separable(80)
    rare = np.r_[np.flatnonzero(y == "low"), np.flatnonzero(y == "high")[:15]]
    data = {"X": torch.as_tensor(X[rare], dtype=torch.float32), "y": torch.as_tensor((y[rare] == "high").astype(int))}
    filled = _oversampled(data, seed=0)
    assert np.bincount(filled["y"]).tolist() == [40, 40]
    torch.testing.assert_close(filled["X"][:55], data["X"])
    corners = data["X"][40:].flatten(1).double()
    apart = torch.cdist(corners, corners)
    for new in filled["X"][55:].flatten(1).double():
        away = torch.cdist(new[None], corners)[0]
        detour = away[:, None] + away[None] - apart + torch.eye(15)
        assert detour.min() < 1e-5
    fitted = RBTransformerClassifier(**SMALL | {"resampling": "smote"}).fit(X[rare], y[rare])
    assert len(fitted.history_) == 3


def test_decoder_is_the_pipeline_of_entropies_and_network():
    X = trials()
    decoder = RBTransformerDecoder(**SMALL).fit(X)
    pipeline = make_pipeline(BandDifferentialEntropy(), RBTransformerClassifier(**SMALL)).fit(X, X["label"].values)
    np.testing.assert_allclose(decoder.predict_proba(X), pipeline.predict_proba(X), atol=1e-6)
    assert decoder.signature_.ch_names == ("F3", "Fz", "F4")
    theta_to_beta = {"theta": (4.0, 8.0), "alpha": (8.0, 14.0), "beta": (14.0, 31.0)}
    assert RBTransformerDecoder(**SMALL, bands=theta_to_beta).fit(X).module_.n_bands == 3


def test_saved_and_repeated_it_says_the_same(tmp_path):
    X = trials()
    decoder = RBTransformerDecoder(**SMALL).fit(X)
    again = clone(decoder).fit(X)
    loaded = RBTransformerDecoder.load(decoder.save(tmp_path / "model"))
    for other in (again, loaded):
        np.testing.assert_array_equal(other.predict_proba(X), decoder.predict_proba(X))
        np.testing.assert_array_equal(other.attention(X), decoder.attention(X))
    assert loaded.get_params() == decoder.get_params()
    with pytest.raises(DataError, match="in another order"):
        loaded.predict(X[:, ::-1])


def test_live_decisions_are_those_of_the_batch():
    recordings = load("sim-emotion", n_subjects=1, n_trials=4, stimulus_s=8.0)
    X = windows(recordings)
    decoder = RBTransformerDecoder(**SMALL).fit(X)
    live = StreamingDecoder(decoder, 128.0, window=4.0, step=4.0, channels=list(X["channel"].values))
    decisions = list(replay(recordings[0], live))
    eeg = recordings[0].stream("eeg").values
    cut = np.stack([eeg[k : k + 512].T for k in range(0, len(eeg) - 511, 512)])
    np.testing.assert_allclose([d.proba for d in decisions], decoder.predict_proba(cut), atol=1e-6)
    wrong = list(X["channel"].values[::-1])
    with pytest.raises(UsageError, match="channels of the stream differ"):
        StreamingDecoder(decoder, 128.0, window=4.0, channels=wrong)


def test_windows_of_unseen_trials_are_decoded_and_vote():
    X = windows(load("sim-emotion", n_subjects=2, n_trials=12, eff=0.6, drift=0.1, stimulus_s=12.0))
    train_windows, test = next(iter(TrialFolds(4).split(X)))
    decoder = decoding.make("rbtransformer", **decoding.get("rbtransformer").laptop, random_state=0, progress=False)
    decoder.fit(X[train_windows])
    proba = decoder.predict_proba(X[test])
    votes = vote(proba, X[test])
    truth = X["label"].values[test][votes.first_window]
    by_window = np.mean(decoder.predict(X[test]) == X["label"].values[test])
    by_trial = np.mean(decoder.classes_[votes.probabilities.argmax(axis=1)] == truth)
    assert by_window > 0.7
    assert by_trial >= by_window


@pytest.mark.parametrize(
    ("fit", "message"),
    [
        (
            lambda X: RBTransformerDecoder(**SMALL).fit(X.values, X["label"].values),
            "do not know their sampling rate; pass sfreq",
        ),
        (
            lambda X: RBTransformerDecoder(**SMALL).fit(X.assign_attrs(sfreq=80.0)),
            "too low for the band gamma 31-49 Hz",
        ),
        (lambda X: RBTransformerDecoder(**SMALL).fit(X[..., :60]), "need windows of 64 samples at 128 Hz or more"),
        (lambda X: RBTransformerDecoder(**SMALL, sfreq=100.0).fit(X), "windows have 128 Hz, but sfreq=100 was given"),
        (
            lambda X: RBTransformerDecoder(**SMALL, normalize="z").fit(X),
            "normalize must be 'window', 'channel' or None, got 'z'",
        ),
        (lambda X: RBTransformerDecoder(**SMALL | {"depth": -1}).fit(X), "0 or more blocks, got -1"),
        (lambda X: RBTransformerDecoder(**SMALL | {"num_heads": 0}).fit(X), "num_heads must be at least 1, got 0"),
        (
            lambda X: RBTransformerDecoder(**SMALL, resampling="copy").fit(X),
            "resampling must be one of 'smote', got 'copy'",
        ),
        (lambda X: RBTransformerDecoder(**SMALL | {"depth": 0}).fit(X).attention(X), r"depth=0\) has no attention"),
        (
            lambda X: RBTransformerDecoder(**SMALL).fit(X).predict(X.assign_coords(channel=["F3", "Fz", "Cz"])),
            "lacks F4 and adds Cz",
        ),
        (lambda X: network()(torch.zeros(2, 6, 5)), "built for 6 electrodes with 4 bands, got 6 with 5"),
    ],
)
@pytest.mark.filterwarnings("ignore:These windows carry no channel names")
def test_refusals_say_what_is_wrong(fit, message):
    with pytest.raises((DataError, UsageError), match=message):
        fit(trials())


def test_nameless_electrodes_are_taken_by_position_with_a_warning():
    X = trials()
    with pytest.warns(UserWarning, match="carry no channel names, so the electrodes' vectors go by position"):
        RBTransformerDecoder(**SMALL, sfreq=SFREQ).fit(X.values, X["label"].values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RBTransformerDecoder(**SMALL, sfreq=SFREQ, identity_embedding=False).fit(X.values, X["label"].values)
        RBTransformerDecoder(**SMALL).fit(X)
