"""Neuroformer: what may depend on what, the published size, tokens in and out, few labels, streams, saving, messages."""

import numpy as np
import pytest
import torch
from torch.nn.functional import pad

from neuropil.errors import DataError, UsageError
from neuropil.foundation.neuroformer import LAPTOP, Neuroformer
from neuropil.foundation.neuroformer_data import hold_out, place_windows
from neuropil.foundation.neuroformer_networks import NeuroformerNetwork
from neuropil.foundation.neuroformer_reading import per_occasion
from neuropil.recording import Recording
from neuropil.simulate.coupled_logistic import (
    bar_drive,
    moving_bar,
    simulate_coupled_logistic,
    slow_speed,
    speed_drive,
)
from neuropil.streams import irregular_stream

TINY = {**LAPTOP, "emb_size": 16, "num_heads": 2, "max_epochs": 1, "progress": False, "random_state": 0}


@pytest.fixture(scope="module")
def network():
    return simulate_coupled_logistic(3000, 6, base_logit=-3.0, random_state=0)


@pytest.fixture(scope="module")
def fitted(network):
    return Neuroformer(**TINY).fit(network.spikes)


@pytest.fixture
def module():
    torch.manual_seed(0)
    built = NeuroformerNetwork(
        5, 15, current_tokens=12, past_tokens=20, emb_size=16, num_heads=2, n_self=2, n_past=2, frame_kernel=(1, 4, 4), n_inputs=1,
        n_targets=2, n_frames=1, n_behaviour=1, contrastive=True,
    ).eval()  # fmt: skip
    for parameter in built.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, 0, 0.5)
    return built


def inputs(n=3, n_tokens=7, n_past=9):
    rng = torch.Generator().manual_seed(1)

    def integers(*arguments):
        return torch.randint(*arguments, generator=rng)

    ids = torch.cat([torch.full((n, 1), 5), integers(0, 5, (n, n_tokens - 1))], dim=1)
    return {
        "ids": ids,
        "bins": integers(0, 5, (n, n_tokens)),
        "past_ids": integers(0, 5, (n, n_past)),
        "past_bins": integers(0, 15, (n, n_past)),
        "frames": torch.randn(n, 2, 8, 8, generator=rng),
        "behaviour": torch.randn(n, 1, 1, generator=rng),
    }


def test_the_published_sizes():
    v1al = NeuroformerNetwork(386, 15, frame_kernel=(3, 8, 8), frame_stride=(3, 4, 4))
    unused_norm = 512
    assert sum(p.numel() for p in v1al.parameters()) == 24_080_384 - unused_norm
    navigation = NeuroformerNetwork(2022, 5, past_tokens=700, frame_kernel=(3, 5, 5), contrastive=True)
    assert sum(p.numel() for p in navigation.parameters()) == 25_104_640 - unused_norm
    block = sum(p.numel() for p in v1al.fusion[0].parameters())
    assert block == 790_272


def test_earlier_logits_do_not_depend_on_later_tokens(module):
    given = inputs()
    with torch.no_grad():
        before = module(**given)
        changed = given["ids"].clone()
        changed[:, 4:] = (changed[:, 4:] + 1) % 5
        after = module(**{**given, "ids": changed, "bins": (given["bins"] + (torch.arange(7) >= 4)) % 5})
    torch.testing.assert_close(after.id_logits[:, :4], before.id_logits[:, :4], rtol=0, atol=1e-6)
    torch.testing.assert_close(after.bin_logits[:, :4], before.bin_logits[:, :4], rtol=0, atol=1e-6)
    assert (after.id_logits[:, 4:] - before.id_logits[:, 4:]).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["past_ids", "past_bins", "frames", "behaviour"])
def test_every_condition_counts(module, name):
    given = inputs()
    other = {**given, name: given[name].flip(0)}
    with torch.no_grad():
        assert (module(**given).id_logits - module(**other).id_logits).abs().max() > 1e-3


def test_padding_changes_nothing(module):
    given = inputs()
    longer = {
        **given,
        "ids": torch.cat([given["ids"], torch.tensor([6, 7, 7]).expand(3, 3)], dim=1),
        "bins": pad(given["bins"], (0, 3), value=18),
        "past_ids": pad(given["past_ids"], (0, 5), value=7),
        "past_bins": pad(given["past_bins"], (0, 5), value=18),
    }
    with torch.no_grad():
        short, long = module(**given), module(**longer)
    torch.testing.assert_close(long.id_logits[:, :7], short.id_logits, rtol=0, atol=1e-5)
    for name in ("latent", "behaviour"):
        torch.testing.assert_close(getattr(long, name), getattr(short, name), rtol=0, atol=1e-5)
    torch.testing.assert_close(long.aligned["neural"], short.aligned["neural"], rtol=0, atol=1e-5)


def test_a_window_without_a_past_is_legal_and_looks_at_the_null_key(module):
    given = inputs()
    empty = {**given, "past_ids": torch.full((3, 4), 7), "past_bins": torch.full((3, 4), 18)}
    none = {**given, "past_ids": torch.zeros(3, 0, dtype=int), "past_bins": torch.zeros(3, 0, dtype=int)}
    with torch.no_grad():
        torch.testing.assert_close(module(**empty).id_logits, module(**none).id_logits)
        maps = module.past_attention(*(empty[name] for name in ("ids", "bins", "past_ids", "past_bins")))
    assert maps.shape == (2, 3, 2, 7, 5)
    torch.testing.assert_close(maps[..., -1], torch.ones_like(maps[..., -1]))


def test_alignment_compares_spikes_that_have_not_seen_the_movie(module):
    given = inputs()
    with torch.no_grad():
        one, other = module(**given).aligned, module(**{**given, "frames": given["frames"].flip(0)}).aligned
    torch.testing.assert_close(one["neural"], other["neural"])
    assert (one["frames"] - other["frames"]).abs().max() > 1e-3


def test_the_cost_grows_in_a_line_with_the_past():
    torch.manual_seed(0)
    module = NeuroformerNetwork(5, 15, past_tokens=1600, emb_size=16, num_heads=2, n_self=1, n_past=2).eval()
    given = inputs(2, 7, 800)
    from torch.utils.flop_counter import FlopCounterMode

    def cost(n_past):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(given["ids"], given["bins"], given["past_ids"][:, :n_past], given["past_bins"][:, :n_past])
        return counter.get_total_flops()

    first, second, third = cost(200), cost(400), cost(800)
    assert third - second == pytest.approx(2 * (second - first), rel=0.01)


def test_windows_follow_each_other_and_validation_keeps_its_distance():
    places = place_windows([100, 97], 5, 15)
    assert places.starts.tolist() == [*range(15, 96, 5), *range(15, 93, 5)]
    train, held = hold_out(places, [100, 97], 5, 15, 0.3, gap=10)
    for sequence in (0, 1):
        mine = places.sequences == sequence
        last = places.starts[train][mine[train]].max() + 5
        assert places.starts[held][mine[held]].min() - 15 - last >= 10
    trials = place_windows([30] * 10, 5, 15)
    train, held = hold_out(trials, [30] * 10, 5, 15, 0.2, gap=10)
    assert set(trials.sequences[held]) == {8, 9}
    assert set(trials.sequences[train]) == set(range(8))
    with pytest.raises(DataError, match="set validation to 0"):
        hold_out(places, [100, 97], 5, 15, 0.3, gap=100)


def test_training_lowers_the_loss_and_repeats(network, fitted):
    longer = Neuroformer(**TINY | {"max_epochs": 4}).fit(network.spikes)
    assert longer.history_[-1]["loss"] < longer.history_[0]["loss"]
    assert longer.score(network.spikes) > fitted.score(network.spikes)
    again = Neuroformer(**TINY).fit(network.spikes)
    for name, value in fitted.module_.state_dict().items():
        assert torch.equal(value, again.module_.state_dict()[name]), name
    other = Neuroformer(**TINY | {"random_state": 1}).fit(network.spikes)
    assert other.score(network.spikes) != fitted.score(network.spikes)


def test_scores_count_every_spike_and_end_once(network, fitted):
    nats = fitted.nats(network.spikes)
    starts = fitted.window_starts(network.spikes)
    n_spikes = sum(network.spikes[start : start + 5].sum() for _, start in starts)
    assert nats["n_spikes"] == n_spikes
    assert nats["n_windows"] == len(starts) == (3000 - 15) // 5
    assert fitted.score(network.spikes) == pytest.approx(-nats["ids"] / n_spikes)
    untrained = Neuroformer(**TINY | {"lr": 0.0}).fit(network.spikes).nats(network.spikes)
    n_tokens = n_spikes + len(starts)
    assert untrained["ids"] == pytest.approx(n_tokens * np.log(9), rel=0.05)
    assert untrained["bins"] < n_spikes * np.log(5)
    shuffled = fitted.nats(network.spikes, shuffle=0)
    assert shuffled["n_spikes"] == n_spikes
    assert shuffled["ids"] != nats["ids"]


def test_what_lies_in_the_future_of_a_window_does_not_change_it(network, fitted):
    changed = network.spikes.copy()
    changed[1500:] = changed[1500:][::-1]
    starts = fitted.window_starts(network.spikes)[:, 1]
    earlier = starts + 5 <= 1500
    one, other = fitted.transform(network.spikes), fitted.transform(changed)
    np.testing.assert_allclose(one[earlier], other[earlier], atol=1e-5)
    assert np.abs(one[~earlier] - other[~earlier]).max() > 1e-3


def test_drawn_spikes_are_windows_like_those_of_the_data(network, fitted):
    drawn = fitted.generate(network.spikes[:200], true_past=True, random_state=0)
    assert [part.shape for part in drawn] == [(185, 6)]
    again = fitted.generate(network.spikes[:200], true_past=True, random_state=0)
    np.testing.assert_array_equal(drawn[0], again[0])
    own = fitted.generate(network.spikes[:100].reshape(2, 50, 6), 15, top_p=1.0, random_state=1)
    assert [part.shape for part in own] == [(75, 6), (75, 6)]
    rate = np.mean([part.mean() for part in own])
    assert 0.3 < rate / network.spikes.mean() < 3
    with pytest.raises(UsageError, match="how many windows"):
        fitted.generate(network.spikes)
    with pytest.raises(DataError, match="past window has 15 bins"):
        fitted.generate(network.spikes[:10], 3)


def test_attention_by_hand(network, fitted):
    found = fitted.attention_connectivity(network.spikes, relative=False)
    samples = fitted._samples(fitted._again(network.spikes), None, None)
    weight, met = np.zeros((6, 6)), np.zeros((6, 6), dtype=int)
    rows = samples.rows
    with torch.no_grad():
        maps = fitted.module_.past_attention(
            rows["ids"][:, :-1], rows["bins"][:, :-1], rows["past_ids"], rows["past_bins"]
        )
    mean = maps.mean(dim=(0, 2)).numpy()
    targets, sources = rows["ids"][:, 1:].numpy(), rows["past_ids"].numpy()
    for w in range(0, len(targets)):
        for k, post in enumerate(targets[w]):
            for m, pre in enumerate(sources[w]):
                if post < 6 and pre < 6:
                    weight[post, pre] += mean[w, k, m]
                    met[post, pre] += 1
    expected = weight / met * (1 - np.eye(6))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    relative = fitted.attention_connectivity(network.spikes)
    np.testing.assert_allclose(relative.sum(axis=0) / 5, 1.0, rtol=1e-6)
    np.testing.assert_allclose(relative, per_occasion(weight, met, relative=True), rtol=1e-4)
    with pytest.raises(UsageError, match="n_past to 1"):
        Neuroformer(**TINY | {"n_past": 0}).fit(network.spikes).attention_connectivity(network.spikes)


def test_behaviour_is_learned_from_labelled_windows_and_comes_back_in_its_unit():
    speed = slow_speed(4000, random_state=0)
    drive = speed_drive(speed, 6, n_driven=6, gain=2.0)
    spikes = simulate_coupled_logistic(4000, 6, base_logit=-2.0, drive=drive, random_state=0).spikes
    model = Neuroformer(**TINY, behaviour_sfreq=100.0).fit(spikes[:3000])
    with pytest.raises(UsageError, match="finetune"):
        model.predict(spikes)
    metres = {"speed": 7 + 3 * speed}
    settings = {"max_epochs": 4, "batch_size": 16, "warmup_tokens": 0.0, "lr": 5e-3}
    tuned = model.finetune(spikes[:3000], {"speed": metres["speed"][:3000]}, **settings)
    found = tuned.predict(spikes[3000:])
    truth = tuned.window_targets(spikes[3000:], {"speed": metres["speed"][3000:]})
    assert found.shape == truth.shape
    assert np.corrcoef(found, truth)[0, 1] > 0.6
    assert abs(found.mean() - 7) < 1.5
    assert model.target_names_ == ()
    assert tuned.target_names_ == ("speed",)
    two = tuned.finetune(
        spikes[:3000], {"speed": metres["speed"][:3000], "place": speed[:3000] ** 2}, fraction=0.2, max_epochs=1
    )
    assert two.predict(spikes[3000:]).shape == (len(truth), 2)
    assert len(two.history_) == 1
    with pytest.raises(DataError, match="give all variables"):
        tuned.finetune(spikes[:3000], {"place": speed[:3000]})


def test_a_movie_and_behaviour_are_read_and_aligned():
    movie = moving_bar(600, random_state=0)
    drive = bar_drive(movie, 3000, 6, gain=2.0)
    spikes = simulate_coupled_logistic(3000, 6, base_logit=-3.0, drive=drive, random_state=0).spikes
    settings = {
        **TINY,
        "frame_kernel": (2, 8, 8),
        "frame_stride": (2, 8, 8),
        "contrastive": 0.25,
        "behaviour_inputs": ("run",),
    }
    conduct = {"run": slow_speed(600, random_state=1), "gaze": slow_speed(600, random_state=2)}
    model = Neuroformer(**settings).fit(spikes, movie.frames, conduct)
    assert {"contrastive", "behaviour"} <= model.history_[0].keys()
    found = model.aligned(spikes, movie.frames, conduct)
    assert found.keys() == {"neural", "frames", "behaviour"}
    np.testing.assert_allclose((found["frames"] ** 2).sum(axis=1), 1.0, rtol=1e-4)
    assert model.predict(spikes, movie.frames, {"run": conduct["run"]}).shape == (597,)
    assert model.generate(
        spikes[:100], frames=movie.frames[:20], behaviour={"run": conduct["run"][:20]}, true_past=True
    )[0].shape == (85, 6)
    with pytest.raises(DataError, match="give frames"):
        model.predict(spikes, behaviour=conduct)
    with pytest.raises(DataError, match="lack run"):
        model.predict(spikes, movie.frames)
    with pytest.raises(UsageError, match="true_past=True"):
        model.generate(spikes, 3)


def test_frames_of_a_window_end_with_it():
    frames = np.arange(40, dtype=np.float32)[:, None, None] * np.ones((1, 8, 8), np.float32)
    spikes = np.random.default_rng(0).poisson(0.2, (200, 2))
    model = Neuroformer(**TINY, frame_kernel=(2, 8, 8), frame_stride=(2, 8, 8), validation=0.0).set_params(
        validation=0.0
    )
    model.fit(spikes, frames)
    activity = model._again(spikes)
    samples = model._samples(activity, model._modalities(spikes, activity, frames, None)[0], None)
    shown = samples.frames(samples.rows)[:, :, 0, 0]
    stop = (model.window_starts(spikes)[:, 1] + 5) // 5
    expected = np.maximum(stop[:, None] - 4 + np.arange(4), 0)
    np.testing.assert_array_equal(shown.numpy(), expected)


def test_recordings_with_streams_equal_arrays(network):
    speed, movie = slow_speed(3000, random_state=0), moving_bar(600, random_state=0)
    recording = network.recording(speed=speed, movie=movie)
    settings = {**TINY, "frame_kernel": (2, 8, 8), "frame_stride": (2, 8, 8), "behaviour_sfreq": 100.0}
    named = Neuroformer(**settings, frame_stream="frames", behaviour_streams=("speed",)).fit(recording)
    arrays = Neuroformer(**settings).fit(network.spikes, movie.frames, {"speed": speed})
    np.testing.assert_array_equal(named.predict(recording), arrays.predict(network.spikes, movie.frames))
    assert named.target_names_ == ("speed",)
    assert named.findings(recording).summary["nats_per_spike"] is None


def test_spike_times_are_counted_in_bins_of_dt(network, fitted):
    times, units = np.nonzero(network.spikes)
    first = int(times[0])
    stream = irregular_stream(times * 0.01, units)
    model = Neuroformer(**TINY).fit(Recording({"spikes": stream}))
    n = len(network.spikes[first : times[-1]])
    assert model.score(Recording({"spikes": stream})) == pytest.approx(
        model.score(network.spikes[first : first + n]), rel=1e-6
    )


def test_saving_and_loading(tmp_path, network, fitted):
    speed = slow_speed(600, random_state=0)
    tuned = fitted.finetune(network.spikes, speed, max_epochs=1)
    tuned.save(tmp_path / "model")
    loaded = Neuroformer.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(network.spikes), tuned.predict(network.spikes))
    assert loaded.score(network.spikes) == tuned.score(network.spikes)
    assert loaded.get_params() == tuned.get_params()


def test_findings(network, fitted):
    found = fitted.findings(network.spikes)
    assert found.summary["nats_per_spike"] == pytest.approx(-fitted.score(network.spikes))
    assert set(found.panels) == {"raster", "attention", "lagged_correlation", "objective"}
    assert len(found.tables["connectivity"]) == 30
    weights = found.panels["attention"].weights
    row = found.tables["connectivity"].iloc[0]
    assert row["attention"] == weights[fitted.unit_names_.index(row["post"]), fitted.unit_names_.index(row["pre"])]


def test_truncation_is_counted_and_said():
    spikes = np.random.default_rng(0).poisson(1.0, (400, 6))
    with pytest.warns(UserWarning, match="spikes are left out"):
        model = Neuroformer(**TINY | {"current_tokens": 12}).fit(spikes)
    counted = np.array([spikes[start : start + 5].sum() for start in range(15, 396, 5)])
    assert model.n_truncated_ == np.maximum(counted - 10, 0).sum()
    assert model.n_spikes_ == counted.sum()


def test_messages(network, fitted):
    silent = network.spikes.copy()
    silent[:, 2] = 0
    with pytest.raises(DataError, match="unit002 never fires"):
        Neuroformer(**TINY).fit(silent)
    assert np.isfinite(fitted.score(silent))
    with pytest.raises(DataError, match="last 30 s and the frames 20 s"):
        Neuroformer(**TINY).fit(network.spikes, np.zeros((400, 16, 16)))
    with pytest.raises(DataError, match="last 30 s and the behaviour 29 s"):
        Neuroformer(**TINY).fit(network.spikes, behaviour={"speed": np.zeros(580)})
    with pytest.raises(DataError, match="one length"):
        Neuroformer(**TINY).fit(network.spikes, behaviour={"speed": np.zeros(600), "gaze": np.zeros(599)})
    with pytest.raises(DataError, match="fitted on 6 units"):
        fitted.score(network.spikes[:, :5])
    with pytest.raises(DataError, match="needs 20 bins"):
        fitted.score(network.spikes[:19])
    with pytest.raises(DataError, match="hold no spike"):
        fitted.score(np.zeros((100, 6), dtype=int))
    with pytest.raises(UsageError, match="hold no bin"):
        Neuroformer(**TINY | {"window": 0.001}).fit(network.spikes)
    with pytest.raises(UsageError, match="second modality"):
        Neuroformer(**TINY | {"contrastive": 0.25}).fit(network.spikes)
    with pytest.raises(UsageError, match="behaviour to read is run"):
        Neuroformer(**TINY | {"behaviour_inputs": ("run",)}).fit(network.spikes)
    with pytest.raises(UsageError, match="'learned' or 'sinusoidal'"):
        Neuroformer(**TINY | {"time_embedding": "none"}).fit(network.spikes)
    with pytest.raises(UsageError, match=r"lie in \(0, 1\]"):
        fitted.finetune(network.spikes, slow_speed(600), fraction=2.0)
