"""NeuroBOLT: parameter totals, electrodes by name, independence of windows, training settings, saving, failure messages."""

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import load_file, save_file
from torch.nn import functional

from neuropil.decoding.neurobolt import LAPTOP, NeuroBOLT, NeuroBOLTRegressor
from neuropil.errors import DataError, UsageError
from neuropil.lagged import make_lagged_epochs, targets
from neuropil.persistence import load_model
from neuropil.signal.montage import NEUROBOLT26
from neuropil.simulate.eeg import simulate_eeg_bold

NAMES = ("C3", "Cz", "C4", "O1", "Oz")
SMALL = {"embed_dim": 16, "depth": 2, "num_heads": 2, "spectral_depth": 1, "spectral_heads": 2}
SIZES = {"n_chans": 5, "n_outputs": 2, "n_times": 256, "sfreq": 64.0, "ch_names": NAMES}
FAST = {**LAPTOP, **SMALL, "max_epochs": 2, "progress": False, "random_state": 0}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def n_parameters(module):
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def trained(**changes):
    """A small network whose weights are of ordinary size, in evaluation mode."""
    network = NeuroBOLT(**{**SIZES, **SMALL, **changes})
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network.eval()


@pytest.fixture(scope="module")
def scans():
    recordings, _ = simulate_eeg_bold(n_subjects=2, n_volumes=60, seed=5)
    return make_lagged_epochs(recordings, window=4.0).load()


def test_parameters_of_the_paper():
    network = NeuroBOLT(n_chans=26, n_outputs=1, n_times=3200, sfreq=200.0, ch_names=NEUROBOLT26)
    assert n_parameters(network) == 7_906_985
    assert n_parameters(network.spectral) == 2_086_848
    assert {name: n_parameters(part) for name, part in network.spectral.named_children()} == {
        "spectra": 151_600 + 2_048,
        "electrodes": 5_200,
        "dropout": 0,
        "encoder": 1_928_000,
    }
    assert [n_parameters(part) for part in network.spectral.spectra.of_frequencies] == [10_400, 20_400, 40_400, 80_400]
    assert {name: n_parameters(part) for name, part in network.spatiotemporal.named_children()} == {
        "patches": 576,
        "electrodes": 25_800,
        "dropout": 0,
        "encoder": 5_789_760,
        "norm": 400,
    }
    assert network.spatiotemporal.class_token.shape == (200,)
    assert network.spatiotemporal.seconds.shape == (16, 200)
    assert n_parameters(network.head) == 201


def test_first_weights():
    network = NeuroBOLT(n_chans=26, n_outputs=1, n_times=3200, sfreq=200.0, ch_names=NEUROBOLT26)
    assert network.head.weight.abs().max() < 1e-4
    assert network.spectral.encoder.mlp[0][1].weight.std().item() == pytest.approx(0.02, rel=0.02)
    blocks = network.spatiotemporal.encoder.blocks
    for number in (1, 12):
        for layer in (blocks[number - 1].attention.output, blocks[number - 1].mlp[3]):
            assert layer.weight.std().item() == pytest.approx(0.02 / (2 * number) ** 0.5, rel=0.02)
    drops = [block.mlp_residual[2].p if len(block.mlp_residual) > 2 else 0.0 for block in blocks]
    np.testing.assert_allclose(drops, np.linspace(0, 0.1, 12))
    assert (blocks[0].attention_norm.eps, blocks[0].attention.query_norm.eps) == (1e-6, 1e-6)
    assert blocks[0].attention.query_key_value.bias is None
    assert network.spectral.electrodes.table.std().item() == pytest.approx(0.88, rel=0.05)  # unit normal, cut at two


def test_the_parts_add_up():
    network, x = trained(), torch.randn(3, 5, 256)
    both = network.spatiotemporal(x, NAMES) + network.spectral(x, NAMES)
    torch.testing.assert_close(network.features(x), both)
    torch.testing.assert_close(network(x), network.head(functional.gelu(both)))
    for branch in ("spectral", "spatiotemporal"):
        single = NeuroBOLT(**SIZES, **SMALL, branches=branch).eval()
        getattr(single, branch).load_state_dict(getattr(network, branch).state_dict())
        torch.testing.assert_close(single.features(x), getattr(network, branch)(x, NAMES))


def test_spatiotemporal_tokens_by_hand():
    network, x = trained(), torch.randn(2, 5, 256)
    encoder = network.spatiotemporal
    patches = encoder.patches(x.unflatten(-1, (4, 64)))
    rows = encoder.electrodes.table[[0, *(encoder.electrodes.names.index(name.upper()) + 1 for name in NAMES)]]
    tokens = [encoder.class_token + rows[0]]
    tokens = [tokens[0].expand(2, -1)]
    for c in range(5):
        for second in range(4):
            tokens.append(patches[:, c, second] + rows[c + 1] + encoder.seconds[second])
    out = encoder.encoder(torch.stack(tokens, dim=1))
    torch.testing.assert_close(encoder(x, NAMES), encoder.norm(out[:, 1:].mean(1)), atol=1e-5, rtol=1e-4)


def test_a_window_does_not_depend_on_the_others_of_its_batch():
    network, x = trained(), torch.randn(4, 5, 256)
    torch.testing.assert_close(network(x), torch.cat([network(row[None]) for row in x]), atol=1e-5, rtol=1e-4)


def test_electrodes_in_another_order_change_nothing():
    network, x, order = trained(), torch.randn(2, 5, 256), [3, 0, 4, 1, 2]
    renamed = [NAMES[k].lower() for k in order]
    torch.testing.assert_close(network(x[:, order], renamed), network(x), atol=1e-5, rtol=1e-4)
    assert (network(x[:, order]) - network(x)).abs().max() > 1e-3


def test_a_dropped_electrode_is_left_out_of_both_encoders():
    network, x = trained(), torch.randn(2, 5, 256)
    some = network(x[:, [0, 2]], ["C3", "C4"])
    assert some.shape == (2, 2)
    changed = x.clone()
    changed[:, [1, 3, 4]] = 0
    torch.testing.assert_close(network(changed[:, [0, 2]], ["C3", "C4"]), some)
    with pytest.raises(UsageError, match="no vector for the electrode 'Fz', the nearest known name is"):
        network(x[:, :1], ["Fz"])
    with pytest.raises(UsageError, match="expects 5 channels of 256 samples, got 2 of 256"):
        network(x[:, :2])


def test_every_parameter_learns():
    network = trained().train()
    network(torch.randn(4, 5, 256)).square().sum().backward()
    silent = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert silent == set()


def test_layers_and_their_learning_rates():
    model = NeuroBOLTRegressor(ch_names=NEUROBOLT26)
    network = NeuroBOLT(n_chans=26, n_outputs=1, n_times=3200, sfreq=200.0, ch_names=NEUROBOLT26)
    optimizer = model.fit_options()["make_optimizer"](network)
    rates = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    named = dict(network.named_parameters())
    expected = {
        "head.weight": (3e-4, 0.05),
        "spectral.electrodes.table": (3e-4, 0.0),
        "spectral.encoder.mlp.0.1.weight": (3e-4, 0.05),
        "spatiotemporal.seconds": (3e-4, 0.0),
        "spatiotemporal.norm.weight": (3e-4, 0.0),
        "spatiotemporal.encoder.blocks.11.mlp.0.weight": (3e-4 * 0.65, 0.05),
        "spatiotemporal.encoder.blocks.0.mlp.0.bias": (3e-4 * 0.65**12, 0.0),
        "spatiotemporal.class_token": (3e-4 * 0.65**13, 0.0),
        "spatiotemporal.electrodes.table": (3e-4 * 0.65**13, 0.0),
        "spatiotemporal.patches.layers.0.weight": (3e-4 * 0.65**13, 0.05),
    }
    for name, wanted in expected.items():
        assert rates[id(named[name])] == pytest.approx(wanted), name
    schedule = model.fit_options()["make_scheduler"](optimizer, 20 * 7)
    factor = schedule.lr_lambdas[0]
    assert [factor(0), factor(34), factor(35)] == [0, 1, 1]
    assert factor(140) == pytest.approx(1e-6 / 3e-4)


def test_labram_weights_reach_the_spatiotemporal_encoder(tmp_path):
    network, other = NeuroBOLT(**SIZES, **SMALL), trained()
    stored = {}
    pairs = {
        "cls_token": other.spatiotemporal.class_token[None, None],
        "pos_embed": other.spatiotemporal.electrodes.table[None],
        "time_embed": torch.cat([other.spatiotemporal.seconds, torch.zeros(12, 16)])[None],
        "mask_token": torch.zeros(1, 1, 16),
    }
    layers = other.spatiotemporal.patches.layers
    for k in range(3):
        for kind in ("weight", "bias"):
            pairs[f"patch_embed.conv{k + 1}.{kind}"] = getattr(layers[3 * k], kind)
            pairs[f"patch_embed.norm{k + 1}.{kind}"] = getattr(layers[3 * k + 1], kind)
    for k, block in enumerate(other.spatiotemporal.encoder.blocks):
        modules = {
            "norm1": block.attention_norm,
            "norm2": block.mlp_norm,
            "attn.qkv": block.attention.query_key_value,
            "attn.q_norm": block.attention.query_norm,
            "attn.k_norm": block.attention.key_norm,
            "attn.proj": block.attention.output,
            "mlp.fc1": block.mlp[0],
            "mlp.fc2": block.mlp[3],
        }
        for name, module in modules.items():
            pairs |= {f"blocks.{k}.{name}.{kind}": value for kind, value in module.named_parameters()}
        pairs[f"blocks.{k}.gamma_1"] = block.attention_residual[1].gain
        pairs[f"blocks.{k}.gamma_2"] = block.mlp_residual[1].gain
    stored = {f"student.{name}": value.detach().clone().contiguous() for name, value in pairs.items()}
    path = tmp_path / "labram.safetensors"
    save_file(stored, path)
    network.load_labram(path)
    for name, value in network.spatiotemporal.state_dict().items():
        if not name.startswith("norm."):
            torch.testing.assert_close(value, other.spatiotemporal.state_dict()[name], msg=name)
    missing = dict(load_file(path))
    del missing["student.blocks.1.gamma_2"]
    save_file(missing, path)
    with pytest.raises(DataError, match=r"has no blocks.1.gamma_2; take the weights of LaBraM-base"):
        network.load_labram(path)
    save_file(stored | {"student.cls_token": torch.zeros(1, 1, 200)}, path)
    with pytest.raises(DataError, match=r"cls_token in .* has shape \(200,\), this network needs \(16,\)"):
        network.load_labram(path)
    path.write_bytes(b"no tensors here")
    with pytest.raises(DataError, match="is no safetensors file"):
        network.load_labram(path)
    with pytest.raises(UsageError, match="which branches='spectral' leaves out"):
        NeuroBOLT(**SIZES, **SMALL, branches="spectral").load_labram(path)


def test_fitting_predicting_and_scoring_labelled_windows(scans):
    train, held = scans[np.flatnonzero(scans["recording"] == 0)], scans[np.flatnonzero(scans["recording"] == 1)]
    model = NeuroBOLTRegressor(window=4.0, **FAST).fit(train, eval_set=(held, None))
    assert model.ch_names_ == tuple(scans["channel"].values)
    assert len(model.history_) == 2
    losses = [row["validation_loss"] for row in model.history_]
    assert model.best_epoch_ == int(np.argmin(losses))
    predicted = model.predict(held)
    assert predicted.shape == (len(held), 4)
    wanted = targets(held)[1]
    assert np.mean((predicted - wanted) ** 2) == pytest.approx(min(losses), rel=1e-4)
    r = [np.corrcoef(predicted[:, k], wanted[:, k])[0, 1] for k in range(4)]
    assert model.score(held) == pytest.approx(np.mean(r), abs=1e-6)
    assert model.transform(held).shape == (len(held), 16)


def test_regressor_finds_electrodes_by_name(scans):
    model = NeuroBOLTRegressor(window=4.0, **FAST).fit(scans, targets(scans)[1][:, 0])
    assert model.predict(scans).shape == (len(scans),)
    order = [4, 2, 0, 1, 3, 9, 8, 7, 6, 5]
    np.testing.assert_allclose(model.predict(scans[:, order]), model.predict(scans), atol=1e-5)
    some = model.predict(scans.isel(channel=[0, 5]))
    assert some.shape == (len(scans),)
    assert np.abs(some - model.predict(scans)).max() > 1e-6
    strange = scans.isel(channel=[0, 5]).assign_coords(channel=["Fz", "Foo"])
    with pytest.raises(UsageError, match="no vector for the electrode 'Foo'"):
        model.predict(strange)


def test_units_and_means_of_windows(scans):
    model = NeuroBOLTRegressor(window=4.0, **FAST).fit(scans)
    volts = (scans * 1e-6).assign_attrs({**scans.attrs, "unit": "V"})
    np.testing.assert_allclose(model.predict(volts), model.predict(scans), atol=1e-5)
    shifted = (scans + 500.0).assign_attrs(scans.attrs)
    np.testing.assert_allclose(model.predict(shifted), model.predict(scans), atol=1e-4)
    with pytest.raises(DataError, match="EEG must be in V, mV, uV, µV, nV, got windows in 'z'"):
        model.predict(scans.assign_attrs({**scans.attrs, "unit": "z"}))


def test_saved_and_loaded_networks_are_equal_even_without_the_file_they_started_from(scans, tmp_path):
    model = NeuroBOLTRegressor(window=4.0, **FAST).fit(scans)
    model.pretrained = str(tmp_path / "gone.safetensors")
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(scans), model.predict(scans))
    assert loaded.ch_names_ == model.ch_names_
    assert loaded.pretrained == model.pretrained


def test_the_same_seed_gives_the_same_network(scans):
    first, second = (NeuroBOLTRegressor(window=4.0, **FAST).fit(scans) for _ in range(2))
    np.testing.assert_array_equal(first.predict(scans), second.predict(scans))
    other = NeuroBOLTRegressor(window=4.0, **{**FAST, "random_state": 1}).fit(scans)
    assert np.abs(other.predict(scans) - first.predict(scans)).max() > 0


def test_plain_arrays_need_names_and_the_right_length():
    X, y = np.random.default_rng(0).normal(size=(6, 5, 256)), np.arange(6.0)
    with pytest.raises(
        UsageError, match="finds electrodes by name: pass ch_names= with 5 names, or labelled windows, got none"
    ):
        NeuroBOLTRegressor(window=4.0, sfreq=64.0, **FAST).fit(X, y)
    with pytest.raises(DataError, match="Expected windows of 16 s, 1024 samples at 64 Hz, got 256; cut them with"):
        NeuroBOLTRegressor(sfreq=64.0, ch_names=NAMES, **FAST).fit(X, y)
    with pytest.raises(DataError, match="Expected targets, got none; pass y, or windows from make_lagged_epochs"):
        NeuroBOLTRegressor(ch_names=NAMES).fit(X)
    model = NeuroBOLTRegressor(window=4.0, sfreq=64.0, ch_names=NAMES, **FAST).fit(X, y)
    with pytest.raises(DataError, match=r"validation targets must have shape \(6, 1\), got \(6, 2\)"):
        model.fit(X, y, eval_set=(X, np.zeros((6, 2))))
    tuned = model.finetune(X, y, max_epochs=1)
    assert len(tuned.history_) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"branches": "all"}, "branches must be one of 'both', 'spectral', 'spatiotemporal', got 'all'"),
        ({"ch_names": NAMES[:4]}, "Every electrode needs a name, got 4 names for 5 channels"),
        ({"ch_names": (*NAMES[:4], "X9")}, "no vector for the electrode 'X9', the nearest known name is"),
        ({"patch": 3.0}, r"whole patches of 3 s \(192 samples at 64 Hz\), got 256 samples"),
        ({"n_scales": 5}, "5 scales from 32 samples on need a window of a multiple of 512 samples, got 256"),
        ({"spectral_heads": 3}, "The 16 features of a token must be a multiple of the heads, got 3"),
    ],
)
def test_messages(changes, message):
    with pytest.raises(UsageError, match=message):
        NeuroBOLT(**{**SIZES, **SMALL, **changes})


def test_unknown_names_are_fine_where_only_the_montage_is_looked_up():
    network = NeuroBOLT(**{**SIZES, **SMALL, "ch_names": ("a", "b", "c", "d", "e"), "branches": "spectral"})
    assert network(torch.randn(2, 5, 256)).shape == (2, 2)


def test_windows_stay_lazy_labelled_arrays(scans):
    assert isinstance(scans, xr.DataArray)
    assert scans.dims == ("window", "channel", "time")
