"""AT-AT: sizes, units, routing, regions, recordings of any length, saving, failure messages."""

import numpy as np
import pytest
import torch
import xarray as xr
from sklearn.base import clone

from neuropil.decoding.at_at import ATATDenoiser
from neuropil.decoding.at_at_networks import (
    Autoencoder,
    SpectralDiscriminator,
    TargetedTransformer,
    smoothed_log_spectrum,
)
from neuropil.decoding.at_at_training import FreshMixes, standardise
from neuropil.decoding.routing import EarlyExitRouter
from neuropil.errors import DataError, UsageError
from neuropil.persistence import load_model
from neuropil.recording import Recording
from neuropil.signal.mixing import mix
from neuropil.streams import regular_stream

LENGTH, SFREQ = 128, 128.0


def segments(n=80, seed=0):
    """Slow clean segments and fast noise."""
    rng = np.random.default_rng(seed)
    clean = np.cumsum(rng.normal(size=(n, LENGTH)), axis=1)
    return clean - clean.mean(axis=1, keepdims=True), np.diff(rng.normal(size=(n, LENGTH + 1)), axis=1)


def make(**options):
    settings = {"segment_length": LENGTH, "sfreq": SFREQ, "max_epochs": 4, "random_state": 0, "progress": False}
    return ATATDenoiser(**(settings | options))


@pytest.fixture(scope="module")
def fitted():
    return make(max_epochs=5).fit(*segments(160))


def n_parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_parameters_of_every_part():
    network = Autoencoder(512)
    blocks = [n_parameters(block) for block in [*network.encoder, *network.decoder, network.output]]
    assert blocks == [96, 1200, 2352, 2352, 1176, 600, 73]
    assert n_parameters(network) == 7_849
    transformer = TargetedTransformer(512)
    assert {name: n_parameters(part) for name, part in transformer.named_children()} == {
        "tokens": 1_056,
        "positions": 1_024,
        "encoder": 2 * 8_544,
        "correction": 528,
    }
    assert n_parameters(transformer) == 19_696
    assert n_parameters(Autoencoder(1024)) == 7_849


def test_the_code_is_an_eighth_as_long_and_the_output_as_long_as_the_input():
    network, lengths = Autoencoder(512).eval(), []
    for block in network.encoder:
        block.register_forward_hook(lambda module, args, out: lengths.append(tuple(out.shape[1:])))
    assert network(torch.randn(3, 512)).shape == (3, 512)
    assert lengths == [(8, 512), (16, 256), (16, 128)]


def test_the_untrained_transformer_adds_nothing_and_its_patches_stay_in_place():
    network = TargetedTransformer(64, patch=16, embed_dim=8, num_layers=0)
    x, g = torch.randn(2, 2, 64)
    assert torch.equal(network(x, g), g)
    torch.nn.init.normal_(network.correction.weight)
    changed = g.clone()
    changed[:, 20] += 1
    difference = (network(x, changed) - changed) - (network(x, g) - g)
    assert difference[:, 16:32].abs().min() > 0
    assert difference[:, :16].abs().max() == difference[:, 32:].abs().max() == 0


def test_the_adversary_is_one_lipschitz_in_its_last_layer_and_sees_1_to_80_hz():
    network = SpectralDiscriminator(512, 256.0)
    for _ in range(30):
        network(torch.randn(8, 512))
    network.eval()
    assert torch.linalg.norm(network.judgement.weight).item() == pytest.approx(1.0, abs=1e-3)
    assert (network.first, network.n_frequencies) == (2, 159)
    assert SpectralDiscriminator(128, 128.0).n_frequencies == 64


def test_smoothed_spectrum_by_hand():
    x = torch.sin(2 * torch.pi * 16 * torch.arange(512) / 256)[None]
    spectrum = smoothed_log_spectrum(x, 256.0)[0]
    assert spectrum.shape == (40,)
    assert int(spectrum.argmax()) == 16 // 2 - 1
    torch.testing.assert_close(
        smoothed_log_spectrum(10 * x, 256.0)[0][7], spectrum[7] + 2 * np.log(10), atol=1e-4, rtol=0
    )


def test_fresh_mixes_have_the_wanted_ratios_and_unit_deviation():
    clean, noise = (
        torch.as_tensor(x / np.sqrt((x**2).mean(1, keepdims=True)), dtype=torch.float32) for x in segments()
    )
    for level, ratio in ((-7.0, 0.1995), (2.0, 1.585)):
        noisy, target = FreshMixes(noise, (level, level), "amplitude10")({"clean": clean})
        torch.testing.assert_close(noisy.std(dim=1, correction=0), torch.ones(len(clean)))
        added = noisy - target
        found = target.square().mean(1).sqrt() / added.square().mean(1).sqrt()
        np.testing.assert_allclose(found.mean(), ratio, rtol=0.02)
    again = FreshMixes(noise, (-7.0, 2.0), "amplitude10")
    assert not torch.equal(again({"clean": clean})[0], again({"clean": clean})[0])


def test_standardising_takes_what_is_known_of_the_noisy_segment_from_both():
    noisy, clean = torch.randn(2, 4, 50) * 5 + 3
    x, y = standardise(noisy, clean)
    torch.testing.assert_close(x.mean(dim=1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        y * noisy.std(dim=1, correction=0, keepdim=True) + noisy.mean(dim=1, keepdim=True), clean
    )


def test_it_learns_to_remove_the_noise_and_knows_how_much_there_was(fitted):
    clean, noise = segments(60, seed=7)
    proxies = []
    for level in (-6.0, -2.0, 2.0):
        noisy = mix(clean, noise, level)
        before = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(noisy, clean, strict=True)])
        assert level > 0 or fitted.score(noisy, clean) > before + 0.03
        proxies.append(fitted.noise_proxy(noisy).mean())
    assert proxies[0] < proxies[1] < proxies[2]
    assert [row["phase"] for row in fitted.history_] == ["autoencoder"] * 5 + ["transformer"] * 5
    assert {"transformer_adversarial", "adversary_loss"} <= fitted.history_[-1].keys()
    assert fitted.n_parameters_ == n_parameters(fitted.autoencoder_) + n_parameters(fitted.transformer_)


def test_units_and_offsets_are_restored(fitted):
    noisy = mix(*segments(10, seed=1), 0.0)
    cleaned = fitted.transform(noisy)
    np.testing.assert_allclose(fitted.transform(1e-6 * noisy), 1e-6 * cleaned, rtol=1e-4, atol=1e-10)
    np.testing.assert_allclose(fitted.transform(noisy + 500.0), cleaned + 500.0, atol=1e-2)
    np.testing.assert_allclose(fitted.noise_proxy(-30 * noisy), fitted.noise_proxy(-noisy), atol=1e-5)
    assert fitted.transform(noisy.astype(np.float32)).dtype == np.float32


def test_channels_are_treated_by_themselves_and_labels_are_kept(fitted):
    noisy = mix(*segments(12, seed=1), 0.0)
    stacked = noisy.reshape(4, 3, LENGTH)
    done = fitted.denoise(stacked)
    assert done.cleaned.shape == (4, 3, LENGTH)
    assert done.noise_proxy.shape == done.routed.shape == (4, 3)
    np.testing.assert_allclose(done.cleaned.reshape(12, LENGTH), fitted.transform(noisy), atol=1e-5)
    windows = xr.DataArray(stacked, dims=("window", "channel", "time"), coords={"channel": ["a", "b", "c"]})
    labelled = fitted.transform(windows)
    assert labelled["channel"].values.tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(labelled.values, done.cleaned)


def test_flat_segments_come_back_as_they_are(fitted):
    noisy = mix(*segments(3, seed=1), 0.0)
    noisy[1] = 0.1
    done = fitted.denoise(noisy)
    np.testing.assert_array_equal(done.cleaned[1], noisy[1])
    assert (done.noise_proxy[1], done.routed[1]) == (1.0, 0.0)
    assert np.isfinite(done.cleaned).all()


@pytest.mark.parametrize("router", ["proxy", "reversed", "random", "gain"])
def test_routers_send_on_whom_they_say(fitted, router):
    noisy, clean = (
        np.concatenate([mix(*segments(60, seed=3), level) for level in (-6.0, 0.0, 6.0)]),
        segments(60, seed=3)[0],
    )
    cheap, refined, proxy = fitted.stages(noisy)
    model = clone(fitted)
    model.__dict__.update({k: v for k, v in vars(fitted).items() if k.endswith("_")})
    model.set_params(router=router, threshold={"proxy": 0.7, "reversed": 0.7, "random": 0.5, "gain": 0.0}[router])
    done = model.fit_router(noisy, np.tile(clean, (3, 1))).denoise(noisy)
    routed = done.routed == 1
    if router == "random":
        assert 0.35 < routed.mean() < 0.65
    elif router != "gain":
        np.testing.assert_array_equal(routed, proxy < 0.7 if router == "proxy" else proxy > 0.7)
        assert model.threshold_ == 0.7
    np.testing.assert_allclose(done.cleaned[routed], refined[routed], atol=1e-5)
    np.testing.assert_allclose(done.cleaned[~routed], cheap[~routed], atol=1e-5)


def test_automatic_threshold_saves_what_costs_at_most_the_tolerance():
    rng = np.random.default_rng(0)
    proxy = rng.uniform(size=500)
    cheap, full = proxy, proxy + 0.2 * np.clip(0.5 - proxy, 0, None)
    router = EarlyExitRouter().fit(proxy, cheap, full)
    routed = router.route(proxy)
    mean = np.where(routed, full, cheap).mean()
    assert full.mean() - 0.005 <= mean < full.mean()
    assert routed.mean() == pytest.approx(router.routed_fraction_)
    one_less = routed.copy()
    one_less[np.flatnonzero(routed)[np.argmax(proxy[routed])]] = False
    assert np.where(one_less, full, cheap).mean() < full.mean() - 0.005
    assert EarlyExitRouter().fit(proxy, cheap, cheap - 0.1).routed_fraction_ == 0
    shares, means = router.curve(proxy, cheap, full)
    assert (shares[0], shares[-1]) == (0, 1)
    assert (means[0], means[-1]) == (pytest.approx(cheap.mean()), pytest.approx(full.mean()))


@pytest.mark.parametrize("sign", [1, -1])
def test_the_gain_router_finds_out_where_the_gain_is(sign):
    rng = np.random.default_rng(0)
    proxy = rng.uniform(size=400)
    gain = 0.1 * sign * (proxy - 0.5)
    noisy_gain = gain + 0.02 * rng.normal(size=400)
    router = EarlyExitRouter("gain", 0.0).fit(proxy, 0 * gain, noisy_gain)
    assert router.direction_ == sign
    fresh = rng.uniform(size=200)
    assert np.mean(router.route(fresh) == (sign * (fresh - 0.5) > 0)) > 0.9
    shares, means = router.curve(fresh, 0 * fresh, 0.1 * sign * (fresh - 0.5))
    assert (means >= shares * means[-1] - 1e-12).all()  # never below routing by lot


def test_regions_are_routed_by_themselves_and_cross_faded(fitted):
    clean, noise = segments(40, seed=5)
    noisy = clean.copy()
    noisy[:, : LENGTH // 2] += 6 * clean.std() * noise[:, : LENGTH // 2]
    model = clone(fitted).set_params(regions=2, threshold=0.6)
    model.__dict__.update({k: v for k, v in vars(fitted).items() if k.endswith("_")})
    model.fit_router(noisy, clean)
    done = model.denoise(noisy)
    cheap, refined, _ = model.stages(noisy)
    halves = [slice(None, LENGTH // 2), slice(LENGTH // 2, None)]
    proxies = [[np.corrcoef(a[h], b[h])[0, 1] for h in halves] for a, b in zip(cheap, noisy, strict=True)]
    wanted = np.array(proxies) < 0.6
    np.testing.assert_array_equal(done.routed, wanted.mean(axis=1))
    half = wanted[:, 0] & ~wanted[:, 1]
    assert half.any()
    cheap, refined = cheap[half], refined[half]
    fade = round(0.1 * LENGTH / 2)
    np.testing.assert_allclose(done.cleaned[half][:, : LENGTH // 2 - fade], refined[:, : LENGTH // 2 - fade], atol=1e-5)
    np.testing.assert_allclose(done.cleaned[half][:, LENGTH // 2 + fade :], cheap[:, LENGTH // 2 + fade :], atol=1e-5)


def test_pairs_that_are_mixed_already():
    clean, noise = segments(120)
    noisy = mix(clean, noise, 0.0)
    model = make(adversarial_weight=0.0).fit_pairs(noisy, clean)
    assert model.discriminator_ is None
    assert model.score(noisy, clean) > np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(noisy, clean, strict=True)])


def test_same_seed_same_numbers_also_after_saving(fitted, tmp_path):
    noisy = mix(*segments(10, seed=1), 0.0)
    again = make(max_epochs=5).fit(*segments(160))
    np.testing.assert_array_equal(again.transform(noisy), fitted.transform(noisy))
    loaded = load_model(fitted.save(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.transform(noisy), fitted.transform(noisy))
    np.testing.assert_array_equal(loaded.noise_proxy(noisy), fitted.noise_proxy(noisy))
    for name, value in fitted.discriminator_.state_dict().items():
        assert torch.equal(loaded.discriminator_.state_dict()[name], value)
    assert (loaded.threshold_, loaded.n_parameters_) == (fitted.threshold_, fitted.n_parameters_)


def test_refitting_the_transformer_leaves_the_autoencoder(fitted):
    model = make(max_epochs=5).fit(*segments(160))
    before = {k: v.clone() for k, v in model.autoencoder_.state_dict().items()}
    model.set_params(adversarial_weight=0.0, spectral_weight=0.0).refit_transformer(*segments(160))
    assert all(torch.equal(before[k], v) for k, v in model.autoencoder_.state_dict().items())
    assert model.discriminator_ is None
    x, g = torch.randn(2, 4, LENGTH)
    assert not torch.equal(model.transformer_(x, g), fitted.transformer_(x, g))


@pytest.mark.parametrize("sfreq", [SFREQ, 250.0])
def test_recordings_of_any_length_and_rate(fitted, sfreq):
    rng = np.random.default_rng(0)
    n_times = round(7.3 * sfreq)
    data = np.cumsum(rng.normal(size=(n_times, 4)), axis=0) + 100
    stream = regular_stream(
        data,
        sfreq,
        channels=["C3", "C4", "EOG", "Cz"],
        kind=["eeg", "eeg", "eog", "eeg"],
        bads=["C4"],
        t0=2.0,
        unit="uV",
    )
    recording = Recording({"eeg": stream}, subject="1")
    cleaned = fitted.transform_recording(recording)
    after = cleaned.stream()
    assert after.shape == stream.shape
    assert after.attrs == stream.attrs
    np.testing.assert_array_equal(after["time"].values, stream["time"].values)
    np.testing.assert_array_equal(after.values[:, 1:3], data[:, 1:3])
    assert 0 < np.abs(after.values[:, [0, 3]] - data[:, [0, 3]]).mean() < np.std(data)
    assert cleaned.subject == "1"
    if sfreq == SFREQ:
        first = fitted.transform(data[None, :LENGTH, 0])[0]
        np.testing.assert_allclose(after.values[: LENGTH // 2, 0], first[: LENGTH // 2], atol=1e-4)


def test_recordings_that_cannot_be_cleaned(fitted):
    data = np.zeros((300, 2)) + np.arange(300)[:, None]
    with pytest.raises(DataError, match="no good EEG channel"):
        fitted.transform_recording(Recording({"x": regular_stream(data, 128.0, kind="eog")}))
    data[200, 1] = np.nan
    with pytest.raises(DataError, match=r"NaN or infinity in channel ch001 at 1\.562 s"):
        fitted.transform_recording(Recording({"x": regular_stream(data, 128.0)}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"segment_length": 100}, "Expected segments of 100 samples, got 128"),
        ({"ae_channels": (4,) * 8}, "must be a multiple of 256, got 128 samples"),
        ({"patch": 24}, "does not divide into patches of 24"),
        ({"router": "best"}, "one of proxy, gain, random, reversed, got 'best'"),
        ({"threshold": "high"}, "a number or 'auto', got 'high'"),
        ({"regions": 3}, "does not divide into 3 regions"),
        ({"snr_convention": "volts"}, "one of amplitude10, power, got 'volts'"),
        ({"validation": 0.0}, "a share between 0 and 1, got 0.0"),
        ({"adversarial_weight": -1.0}, "must not be negative"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises((UsageError, DataError), match=message):
        make(**options).fit(*segments(20))


def test_segments_that_do_not_fit_are_refused(fitted):
    clean, noise = segments(20)
    with pytest.raises(DataError, match="got 1 flat ones among the noise segments"):
        make().fit(clean, noise * (np.arange(20) > 0)[:, None])
    with pytest.raises(DataError, match=r"one group for each of the 20 clean segments, got groups of shape \(3,\)"):
        make().fit(clean, noise, groups=[1, 2, 3])
    with pytest.raises(DataError, match="At least two noise segments are needed, got 1"):
        make().fit(clean, noise[:1])
    with pytest.raises(DataError, match="one clean segment for each of the 20 noisy ones, got 19"):
        make().fit_pairs(clean, clean[1:])
    clean[2, 3] = np.inf
    with pytest.raises(DataError, match=r"NaN or infinity in 1 of 20 segments \(first: 2\)"):
        fitted.transform(clean)
    with pytest.raises(DataError, match="Expected segments of 128 samples, got 64"):
        fitted.transform(noise[:, :64])
