"""The homogenised worm collection: labels, columns, masks, time, real connectomes and the atlas, and what is refused."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from neuropil.cli import app
from neuropil.datasets.worm import (
    CONNECTOMES,
    SignalPropagation,
    consensus,
    load_connectome,
    load_signal_propagation,
)
from neuropil.datasets.worm_files import read_traces, worm_recording
from neuropil.datasets.worm_names import clean_label, clean_labels, neuron_order, slots
from neuropil.errors import DataError, UsageError
from neuropil.latent.structure_activity import activity_correlation, structure_activity_score
from neuropil.latent.structure_function import _resampled, pairs, structure_function_score
from neuropil.latent.worm_homogenized import WormHomogenizer, normalize_traces, stack, trace_table
from neuropil.recording import Recording
from neuropil.signal.irregular import (
    even_grid,
    exponential_past,
    gaussian_past,
    moving_average,
    standardize_past,
    to_even_grid,
)

SHARED = [name for name in neuron_order() if name not in ("AWCL", "AWCR")]


def raw(labels, *, seconds=60.0, step=0.6, seed=0, worm="w", dataset="lab"):
    rng = np.random.default_rng(seed)
    times = 3.0 + np.cumsum(step * rng.uniform(0.9, 1.1, int(seconds / step)))
    phases = rng.uniform(0, 6, len(labels))
    traces = 4.0 + 2.5 * np.sin(0.5 * times[:, None] + phases)
    return worm_recording(traces, times, labels, worm=worm, dataset=dataset)


@pytest.mark.parametrize(
    ("label", "neuron", "reason"),
    [
        ("AVAL", "AVAL", ""),
        ("AS01", "AS1", "spelling"),
        ("VB10", "VB10", ""),
        ("va09", "VA9", "spelling"),
        (" aval ", "AVAL", "spelling"),
        ("DVA", "DVA", ""),
        ("SMDD", "", "the side is not told"),
        ("RME", "", "the side is not told"),
        ("AWCON", "", "the side is not told"),
        ("AVAL?", "", "uncertain label"),
        ("CANL", "", "makes no synapses"),
        ("mu_bod", "", "no such neuron"),
        ("17", "", "no label"),
        (None, "", "no label"),
        (3.0, "", "no label"),
    ],
)
def test_labels_of_laboratories(label, neuron, reason):
    assert clean_label(label) == (neuron, reason)


def test_every_canonical_name_is_itself():
    assert len(set(neuron_order())) == 300
    assert list(neuron_order()) == sorted(neuron_order())
    assert all(clean_label(name) == (name, "") for name in neuron_order())


def test_the_second_trace_of_a_name_is_not_identified():
    entries = clean_labels(["AVAL", "aval", "AVAR"], 3)
    assert [entry.neuron for entry in entries] == ["AVAL", "", "AVAR"]
    assert entries[1].reason == "doubled label"


def test_columns_masks_and_values_are_lossless():
    recording = raw(["va09", None, "AVAL", "SMDD", "ADAL"])
    homogenizer = WormHomogenizer(dt=0.1).fit([recording])
    (done,) = homogenizer.transform([recording])
    stream = done.stream("calcium")
    assert list(stream["channel"].values) == list(neuron_order())
    named = set(stream["channel"].values[stream["named"].values])
    assert named == {"VA9", "AVAL", "ADAL"}
    assert not stream.values[:, ~stream["named"].values].any()
    assert stream.dtype == np.float32
    traces, times = recording.stream("calcium").values, recording.stream("calcium")["time"].values
    scores = (traces - traces.mean(axis=0)) / traces.std(axis=0)
    for name, k in (("VA9", 0), ("AVAL", 2), ("ADAL", 4)):
        expected = np.interp(stream["time"].values, times - times[0], scores[:, k])
        np.testing.assert_allclose(stream.values[:, slots([name])[0]], expected, atol=1e-6)
    unknown = done.stream("unknown")
    assert list(unknown["channel"].values) == ["unknown1", "unknown3"]
    assert done.info["labels"] == {"VA9": "va09", "AVAL": "AVAL", "ADAL": "ADAL"}
    assert done.info["reasons"] == {"spelling": 1, "no label": 1, "the side is not told": 1}
    assert (done.subject, done.dataset) == ("w", "lab")
    derivative = done.stream("residual").values[:, slots(["AVAL"])[0]]
    rough = np.gradient(stream.values[:, slots(["AVAL"])[0]], 0.1)
    assert np.corrcoef(derivative, rough)[0, 1] > 0.99


def test_time_is_uniform_over_three_hours():
    times = np.arange(0, 3 * 3600, 0.6)
    recording = worm_recording(np.sin(times)[:, None], times, ["AVAL"])
    (done,) = WormHomogenizer(dt=1 / 3).fit_transform([recording])
    time = done.stream("calcium")["time"].values
    assert time.dtype == np.float64
    np.testing.assert_allclose(time, np.arange(len(time)) / 3, rtol=0, atol=1e-9)
    assert time[-1] <= times[-1] < time[-1] + 1 / 3 + 1e-9


def test_a_longer_step_is_averaged_and_does_not_alias():
    times = np.arange(0, 300, 0.1)
    fast = np.sin(2 * np.pi * 0.95 * times)[:, None]
    values, valid = to_even_grid(fast, times, 1.0)
    assert valid.all()
    # picking every tenth sample would keep the whole amplitude as a slow beat of 0.05 Hz
    assert np.abs(values[1:-1]).max() < 0.06
    slow = np.sin(2 * np.pi * 0.02 * times)[:, None]
    grid = even_grid(times, 1.0)
    values, _ = to_even_grid(slow, times, 1.0)
    np.testing.assert_allclose(values[1:-1, 0], np.sin(2 * np.pi * 0.02 * grid[1:-1]), atol=2e-3)


def test_missing_samples_are_masked_not_invented():
    traces, times = np.ones((50, 2)), np.arange(50.0)
    traces[:, 0] = times
    traces[20:25, 0] = np.nan
    traces[:, 1] = np.nan
    recording = worm_recording(traces, times, ["AVAL", "AVAR"])
    (done,) = WormHomogenizer(dt=0.5, normalize="none").fit_transform([recording])
    stream = done.stream("calcium").sel(channel="AVAL")
    time = stream["time"].values
    np.testing.assert_array_equal(stream["mask"].values, (time <= 19) | (time >= 25))
    np.testing.assert_allclose(stream.values[stream["mask"].values], time[stream["mask"].values], atol=1e-6)
    assert done.info["reasons"] == {"no samples": 1}


@pytest.mark.parametrize("method", ["zscore", "robust", "causal", "none"])
def test_normalisation_has_known_values(method):
    x = np.random.default_rng(0).normal(3, 2, (40, 2))
    out = normalize_traces(x, method)
    expected = {
        "zscore": (x - x.mean(axis=0)) / x.std(axis=0),
        "robust": (x - np.median(x, axis=0))
        / (np.median(np.abs(x - np.median(x, axis=0)), axis=0) * 1.482602218505602),
        "causal": np.array(
            [(x[t] - x[: t + 1].mean(axis=0)) / x[: t + 1].std(axis=0, ddof=1) if t else x[0] * 0 for t in range(40)]
        ),
        "none": x,
    }[method]
    np.testing.assert_allclose(out, expected, atol=1e-9)


def test_normalisation_of_the_training_part_ignores_the_rest():
    recording = raw(["AVAL"], seconds=120)
    changed = raw(["AVAL"], seconds=120)
    changed.stream("calcium").values[150:] *= 3
    one, two = (WormHomogenizer(normalize_until=60.0).fit_transform([r])[0] for r in (recording, changed))
    np.testing.assert_array_equal(*(r.stream("calcium").sel(time=slice(0, 60)).values for r in (one, two)))


@given(st.integers(2, 39))
def test_the_past_does_not_know_the_future(cut):
    x = np.random.default_rng(1).normal(size=(40, 2))
    for smoother in (moving_average, gaussian_past, exponential_past, standardize_past):
        np.testing.assert_allclose(smoother(x)[:cut], smoother(x[:cut]), atol=1e-12)


def test_smoothers_have_known_values():
    step = np.r_[np.zeros(5), np.ones(20)][:, None]
    np.testing.assert_allclose(
        moving_average(step, 15)[5:13, 0], np.r_[1 / 6, 2 / 7, 3 / 8, 4 / 8, 5 / 8, 6 / 8, 7 / 8, 1]
    )
    np.testing.assert_allclose(exponential_past(step, 0.5)[5:8, 0], [0.5, 0.75, 0.875])
    np.testing.assert_allclose(gaussian_past(np.ones((30, 1)), 5.0), 1.0)
    smooth = WormHomogenizer(smooth="gaussian").fit_transform([raw(["AVAL"])])[0]
    assert {"smooth_calcium", "smooth_residual"} < set(smooth.streams)


def test_unknown_traces_in_random_slots_are_reproducible_and_masked():
    recording = raw(["AVAL", None, None])
    homogenizer = WormHomogenizer(unknown="random_slot", random_state=3)
    first, second = (clone(homogenizer).fit_transform([recording])[0] for _ in range(2))
    assert first.identical(second)
    stream = first.stream("calcium")
    assert int(stream["measured"].sum()) == 3
    assert list(stream["channel"].values[stream["named"].values]) == ["AVAL"]
    dropped = WormHomogenizer(unknown="drop").fit_transform([recording])[0]
    assert set(dropped.streams) == {"calcium", "residual"}


def test_worms_without_names_are_left_out_and_reported():
    recordings = [raw(["AVAL", "AVAR"], worm="a"), raw([None, None], worm="b", seed=1)]
    homogenizer = WormHomogenizer().fit(recordings)
    assert homogenizer.dropped_ == ["b"]
    assert [done.subject for done in homogenizer.transform(recordings)] == ["a"]
    assert homogenizer.report_.query("worm == 'b'")["reason"].tolist() == ["no label"] * 2


def test_stack_table_and_storage(tmp_path):
    recordings = [raw(["AVAL", "AVAR"], worm="a"), raw(["AVAR"], seconds=90, worm="b")]
    done = WormHomogenizer().fit_transform(recordings)
    X, mask, lengths = stack(done)
    assert X.shape == (2, lengths.max(), 300)
    assert mask.sum(axis=1).tolist() == [2, 1]
    assert not X[0, lengths[0] :].any()
    assert trace_table(done)["neuron"].tolist() == ["AVAL", "AVAR", "AVAR"]
    kept = Recording.open(done[0].save(tmp_path / "worm.zarr"))
    np.testing.assert_array_equal(kept.stream("calcium").values, done[0].stream("calcium").values)
    np.testing.assert_array_equal(kept.stream("calcium")["named"].values, mask[0])
    kept_raw = Recording.open(recordings[0].save(tmp_path / "raw.zarr"))
    assert WormHomogenizer().fit_transform([kept_raw])[0].info["labels"] == {"AVAL": "AVAL", "AVAR": "AVAR"}


@pytest.mark.parametrize(
    ("pre", "post", "synapses", "back"),
    [("ADAL", "AVBR", 7, 0), ("ADAL", "AIBR", 2, 0), ("AVAL", "VA8", None, None)],
)
def test_named_edges_stand_the_right_way_round(pre, post, synapses, back):
    white = load_connectome("white")
    i, j = slots([post, pre])
    if synapses is None:
        # the command interneurons drive the motor neurons of the ventral cord, not the other way round
        assert white.chem[i, j] > 3 * white.chem[j, i]
    else:
        assert (white.chem[i, j], white.chem[j, i]) == (synapses, back)
        assert white.weight(pre, post) == synapses


@pytest.mark.parametrize(
    ("name", "edges", "synapses", "gap", "annotated"),
    [
        ("white", 2236, 6434, 569, 298),
        ("witvliet7", 1904, 6406, 265, 178),
        ("witvliet8", 1888, 6888, 300, 178),
        ("witvliet8-early", 1891, 6896, 300, 178),
        ("cook", 3652, 20636, 2172, 298),
    ],
)
def test_counts_are_those_of_the_sources(name, edges, synapses, gap, annotated):
    without_awc = load_connectome(name, symmetrize_gap=False).select(SHARED)
    counts = without_awc.counts()
    assert (counts["chem_edges"], counts["chem_synapses"], counts["gap_edges"]) == (edges, synapses, gap)
    assert int(without_awc.annotated.sum()) == annotated
    with_awc = load_connectome(name)
    assert with_awc.counts()["chem_edges"] > edges
    np.testing.assert_array_equal(with_awc.gap, with_awc.gap.T)


def test_normalised_graph_and_consensus():
    white = load_connectome("white", normalize="outgoing")
    sums = white.chem.sum(axis=0)
    np.testing.assert_allclose(sums[sums > 0], 1.0)
    pair = [load_connectome("witvliet7"), load_connectome("white")]
    both = consensus(pair)
    i, j = slots(["AVBR", "ADAL"])
    assert both.connectome.chem[i, j] == np.mean([c.chem[i, j] for c in pair])
    only_white = slots(["VD9"])[0]
    np.testing.assert_array_equal(both.connectome.chem[only_white], pair[1].chem[only_white])
    assert both.n_sources[only_white].max() == 1
    index, weights = pair[1].edge_index()
    edge = np.flatnonzero((index[0] == j) & (index[1] == i))
    assert weights[edge[0], 1] == 7.0


def test_edges_survive_a_file(tmp_path):
    for name in CONNECTOMES:
        first = load_connectome(name)
        first.edges().to_csv(tmp_path / "edges.csv", index=False)
        again = load_connectome(tmp_path / "edges.csv")
        np.testing.assert_array_equal(again.chem, first.chem)
        np.testing.assert_array_equal(again.gap, first.gap)


def test_a_users_table_is_cleaned_and_added_up():
    table = pd.DataFrame(
        {
            "pre": ["aval", "AVAL", "AVAL", "AVAL"],
            "post": ["VA08", "VA8", "BWM-DL01", "AVAR"],
            "type": ["chemical", "Chemical", "chemical", "electrical"],
            "synapses": [2, 3, 4, 1],
        }
    )
    connectome = load_connectome(table)
    assert connectome.weight("AVAL", "VA8") == 5
    assert connectome.weight("AVAR", "AVAL", "gap") == connectome.weight("AVAL", "AVAR", "gap") == 1
    assert connectome.meta["dropped"] == ["BWM-DL01"]
    assert connectome.annotated.sum() == 3


def test_the_atlas_has_the_published_pairs():
    atlas = load_signal_propagation()
    measured = atlas.measured
    assert int(measured.sum()) == 23902
    assert int((atlas.q[measured] < 0.05).sum()) == 1151
    assert (int(measured.any(axis=0).sum()), int(measured.any(axis=1).sum())) == (173, 207)
    assert atlas.n_obs[measured].min() == 1
    assert load_signal_propagation("unc31").measured.sum() < measured.sum()


def test_the_atlas_is_read_from_the_folder_of_its_package(tmp_path):
    h5py = pytest.importorskip("h5py")
    bundled = load_signal_propagation("unc31")
    with pytest.raises(FileNotFoundError, match=r"Expected funatlas\.h5"):
        load_signal_propagation("unc31", tmp_path)
    order = np.random.default_rng(0).permutation(300)
    with h5py.File(tmp_path / "funatlas.h5", "w") as file:
        file["neuron_ids"] = np.array([bundled.order[k] for k in order], dtype="S5")
        for name, matrix in (("dFF", bundled.dff), ("q", bundled.q), ("occ1", bundled.n_obs)):
            file[f"unc31/{name}"] = matrix[np.ix_(order, order)]
    read = load_signal_propagation("unc31", tmp_path)
    for one, two in zip(bundled, read, strict=True):
        np.testing.assert_array_equal(one, two)


def test_structure_and_function():
    atlas, white = load_signal_propagation(), load_connectome("white")
    score = structure_function_score(white, atlas, "direct", n_boot=30, unannotated="zero")
    found = pairs(white, atlas, "direct", unannotated="zero")
    assert score.auroc.estimate == roc_auc_score(found.function, found.structure)
    assert score.auroc.estimate == pytest.approx(0.545, abs=0.0005)
    assert score.auroc.low < score.auroc.estimate < score.auroc.high
    assert score.connected == pytest.approx((0.1425, 0.0515), abs=5e-4)
    paths = structure_function_score(white, atlas, "paths", n_boot=30)
    assert paths.gain is not None
    assert paths.gain.low > 0
    assert paths.n_pairs == 23384  # without the pairs of AWC
    # turned round, the wiring predicts hardly differently: why named edges are tested
    turned = pairs(
        load_connectome(white.edges().rename(columns={"pre": "post", "post": "pre"})), atlas, unannotated="zero"
    )
    assert abs(roc_auc_score(turned.function, turned.structure) - 0.553) < 0.005


def test_resampled_areas_are_weighted_areas():
    rng = np.random.default_rng(0)
    function, structure, weights = rng.random(60) < 0.3, rng.integers(0, 5, 60) * 1.0, rng.integers(0, 3, (4, 60))
    expected = [roc_auc_score(function, structure, sample_weight=weight) for weight in weights]
    np.testing.assert_allclose(_resampled(function, structure, weights), expected)


def test_a_response_to_the_presynaptic_neuron_is_predicted_perfectly():
    white = load_connectome("white")
    linked = white.chem + white.gap > 0
    atlas = SignalPropagation(linked * 1.0, np.where(linked, 0.0, 1.0), np.ones((300, 300), dtype=int), white.order)
    assert structure_function_score(white, atlas, "direct", n_boot=20).auroc.estimate == 1.0


def test_structure_and_activity():
    rng, white = np.random.default_rng(0), load_connectome("white")
    strength = np.log1p(white.chem + white.gap)
    correlation = strength + strength.T + 1e-6 * (noise := rng.random((300, 300))) + 1e-6 * noise.T
    perfect = structure_activity_score(white, correlation, "direct", n_boot=20)
    assert perfect.spearman.estimate > 0.3  # most pairs are unconnected, their order is noise
    assert perfect.n_pairs == 300 * 299 // 2
    chance = structure_activity_score(white, noise + noise.T, "direct", n_boot=20)
    assert abs(chance.spearman.estimate) < 0.03
    some = np.full((300, 300), np.nan)
    some[:2, :2] = 1.0
    with pytest.raises(DataError, match="Only 2 neurons"):
        structure_activity_score(white, some)


def test_traces_come_from_a_table(tmp_path):
    path = tmp_path / "worm7.csv"
    path.write_text("time,AVAL,,as01,AVAL\n0,1,2,3,4\n0.5,2,,4,5\n1.1,3,4,5,7\n")
    recording = read_traces(path)
    stream = recording.stream("calcium")
    assert recording.subject == "worm7"
    assert stream["label"].values.tolist() == ["AVAL", "", "as01", "AVAL"]
    assert stream["time"].values.tolist() == [0.0, 0.5, 1.1]
    assert np.isnan(stream.values[1, 1])
    path.write_text("time,AVAL\n0,1\n0.5,high\n")
    with pytest.raises(DataError, match="must hold numbers"):
        read_traces(path)


def test_the_command_compares_draws_and_refuses(tmp_path):
    rng, names = np.random.default_rng(0), ["AVAL", "AVAR", "RIML", "RIMR", "AIBL", "SMDD", "17"]
    rows = [f"{0.5 * k}," + ",".join(f"{v:.4f}" for v in rng.normal(size=len(names))) for k in range(80)]
    (tmp_path / "mine.csv").write_text("\n".join([",".join(["time", *names]), *rows]))
    runner, mine = CliRunner(), str(tmp_path / "mine.csv")
    arguments = [
        "worm",
        mine,
        "--connectome",
        "white",
        "--n-boot",
        "20",
        "--plot",
        str(tmp_path / "worm.png"),
        "--json",
    ]
    done = runner.invoke(app, arguments)
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    scores = {(row["against"], row["prediction"]): row for row in document["table"]}
    assert scores["propagation", "resolvent"]["score"] == pytest.approx(0.612, abs=5e-4)
    assert scores["activity", "direct"]["n_pairs"] == 10
    assert document["recordings"]["n_named"] == 5
    assert document["recordings"]["reasons"] == {"the side is not told": 1, "no label": 1}
    assert (tmp_path / "worm.png").stat().st_size > 5000
    text = runner.invoke(app, ["worm", "--connectome", "white", "--n-boot", "20"]).stdout
    assert "14.7% of 1,117 functional pairs" in text
    for wrong, words in (
        (["worm", "--connectome", "withe"], "no connectome 'withe'"),
        (["worm", str(tmp_path / "none.csv")], "found nothing there"),
        (["worm", "--plot", str(tmp_path / "worm.txt")], "picture's name"),
        (["worm", "--strain", "n2"], "wt and unc31"),
    ):
        refused = runner.invoke(app, wrong)
        assert isinstance(refused.exception, ValueError | OSError)
        assert words in str(refused.exception)


def test_correlation_of_activity_counts_pairs():
    recordings = [raw(["AVAL", "AVAR"], worm="a"), raw(["AVAL", "RIML"], worm="b", seed=1)]
    done = WormHomogenizer().fit_transform(recordings)
    correlation, n_worms = activity_correlation(done)
    i, j, k = slots(["AVAL", "AVAR", "RIML"])
    x = done[0].stream("calcium").values[:, [i, j]].astype(float)
    assert correlation[i, j] == pytest.approx(np.corrcoef(x.T)[0, 1], abs=1e-6)
    assert (n_worms[i, i], n_worms[i, j], n_worms[j, k]) == (2, 1, 0)
    assert np.isnan(correlation[j, k])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: load_connectome("white").weight("AVAX", "AVAL"), UsageError, "no neuron 'AVAX' among the 300"),
        (lambda: load_connectome("withe"), UsageError, "no connectome 'withe'; there are white, cook"),
        (lambda: load_connectome("white", normalize="rows"), UsageError, "None or 'outgoing'"),
        (lambda: load_connectome(pd.DataFrame({"pre": [], "post": []})), DataError, "lacks type, synapses"),
        (
            lambda: load_connectome(pd.DataFrame({"pre": ["X"], "post": ["Y"], "type": ["chemical"], "synapses": [1]})),
            DataError,
            "no edge between two neurons",
        ),
        (
            lambda: load_connectome(
                pd.DataFrame({"pre": ["AVAL"], "post": ["AVAR"], "type": ["glia"], "synapses": [1]})
            ),
            DataError,
            "row 0 says 'glia'",
        ),
        (lambda: load_signal_propagation("n2"), UsageError, "wt and unc31"),
        (lambda: worm_recording(np.ones((5, 2)), np.arange(5), ["AVAL"]), DataError, "each of the 2 traces"),
        (lambda: worm_recording(np.ones((5, 1)), [0, 1, 3, 2, 4], ["AVAL"]), DataError, "increase from sample"),
        (lambda: worm_recording(np.ones((5, 1)), np.arange(4), ["AVAL"]), DataError, "4 times and 5 samples"),
        (lambda: worm_recording(np.full((5, 1), np.inf), np.arange(5)), DataError, "infinity"),
        (lambda: WormHomogenizer(dt=0.0).fit([raw(["AVAL"])]), UsageError, "dt must be a positive number"),
        (lambda: WormHomogenizer(normalize="minmax").fit([raw(["AVAL"])]), UsageError, "normalize must be one of"),
        (lambda: WormHomogenizer().fit([]), DataError, "Expected one recording or a list"),
        (lambda: stack([raw(["AVAL"])]), DataError, "Only homogenised recordings"),
        (lambda: activity_correlation([raw(["AVAL"])]), DataError, "homogenised"),
        (
            lambda: structure_function_score(load_connectome("white"), load_signal_propagation(), "magic"),
            UsageError,
            "direct, paths",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_streams_at_the_recordings_own_times():
    recording = raw(["AVAL", None, "as01"])
    (done,) = WormHomogenizer(smooth="gaussian", keep_original=True).fit_transform([recording])
    names = ("calcium", "residual", "smooth_calcium", "smooth_residual")
    assert set(done.streams) == {*names, *(f"original_{name}" for name in names), "unknown"}
    original, times = done.stream("original_calcium"), recording.stream("calcium")["time"].values
    np.testing.assert_allclose(original["time"].values, times - times[0])
    traces = recording.stream("calcium").values
    expected = (traces[:, 0] - traces[:, 0].mean()) / traces[:, 0].std()
    np.testing.assert_allclose(original.values[:, slots(["AVAL"])[0]], expected, atol=1e-6)
    assert set(original["channel"].values[original["named"].values]) == {"AVAL", "AS1"}
    assert not original.values[:, ~original["measured"].values].any()
    resampled = np.interp(done.stream("calcium")["time"].values, times - times[0], expected)
    np.testing.assert_allclose(done.stream("calcium").values[:, slots(["AVAL"])[0]], resampled, atol=1e-6)


def test_the_power_transform_makes_traces_normal_and_constant_ones_zero():
    rng = np.random.default_rng(0)
    skewed = np.column_stack([np.exp(rng.standard_normal(2000)), np.full(2000, 3.0)])
    skewed[5, 0] = np.nan
    done = normalize_traces(skewed, "power")
    assert np.nanmean(done[:, 0]) == pytest.approx(0, abs=1e-9)
    assert abs(np.nanmean(done[:, 0] ** 3)) < 0.2
    assert np.isnan(done[5, 0])
    assert not done[:, 1].any()


def test_a_trace_that_never_changes_is_no_neuron_and_is_told():
    recording = raw(["AVAL", "AVAR", "RIML"])
    recording.stream("calcium").values[:, 1] = 2.0
    with pytest.warns(
        UserWarning, match=r"1 trace\(s\) never change and count as not identified, first AVAR of worm w"
    ):
        homogenizer = WormHomogenizer().fit([recording])
    assert homogenizer.report_["reason"].tolist() == ["", "never changes", ""]
    stream = homogenizer.transform([recording])[0].stream("calcium")
    assert set(stream["channel"].values[stream["named"].values]) == {"AVAL", "RIML"}


def test_names_that_no_connectome_has_are_answered_with_near_ones(tmp_path):
    rows = "\n".join(
        f"{0.5 * k},{np.sin(k)},{np.cos(k)},{np.sin(2 * k)},{np.sin(3 * k)},{np.cos(4 * k)}" for k in range(80)
    )
    (tmp_path / "mine.csv").write_text(f"time,AVALL,AVAR,RIML,RIMR,AIBL\n{rows}\n")
    runner = CliRunner()
    text = runner.invoke(app, ["worm", str(tmp_path), "--connectome", "white", "--n-boot", "20"]).stdout
    assert "No connectome has a neuron 'AVALL'; did you mean AVAL" in text
    (tmp_path / "mine.csv").write_text("time,AVALL\n0,1\n0.5,2\n1,1\n")
    refused = runner.invoke(app, ["worm", str(tmp_path / "mine.csv"), "--connectome", "white", "--n-boot", "20"])
    assert isinstance(refused.exception, DataError)
    assert "'AVALL' is none: did you mean AVAL" in str(refused.exception)
    assert "\n" not in str(refused.exception)
