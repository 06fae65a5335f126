"""The dynamic functional connectome: planted motifs, neurons that were not measured, worms of several laboratories, and what is refused."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score, roc_auc_score

from neuropil.datasets.worm_files import worm_recording
from neuropil.datasets.worm_names import neuron_order
from neuropil.errors import DataError, UsageError
from neuropil.latent.connectome_affinities import (
    affinity_of_pairs,
    differential_affinity,
    normalised_derivative,
    observed_pairs,
    pairs_of,
    to_matrix,
    windowed_correlation,
)
from neuropil.latent.functional_connectome import DynamicConnectome
from neuropil.latent.worm_homogenized import WormHomogenizer
from neuropil.recording import Recording
from neuropil.simulate.motifs import simulate_motifs
from neuropil.stats.cp import nonnegative_cp
from neuropil.stats.factors import match_components, match_factors


def model(**options):
    return DynamicConnectome(**({"n_components": 4, "n_init": 3, "random_state": 0} | options))


@pytest.fixture(scope="module")
def motifs():
    return simulate_motifs(random_state=100)


@pytest.fixture(scope="module")
def fitted(motifs):
    return model().fit(motifs.recording())


def motif_of(found, truth, number):
    """Component whose time course is most like that of a planted motif."""
    return int(np.argmax([np.corrcoef(column, truth.active[number])[0, 1] for column in found.temporal_.T]))


def test_affinity_is_the_formula():
    rng = np.random.default_rng(0)
    traces = np.cumsum(rng.standard_normal((2, 40, 4)), axis=1)
    d = normalised_derivative(traces, 2.0)
    np.testing.assert_allclose((d**2).mean(axis=1), 1.0)
    found = differential_affinity(traces, sigma=2.0, bandwidth=0.7)
    rising = differential_affinity(traces, sigma=2.0, bandwidth=0.7, sign="rising")
    first, second = pairs_of(4)
    for t, w, p in ((3, 0, 0), (17, 1, 2), (39, 0, 5)):
        a, b = d[w, t, first[p]], d[w, t, second[p]]
        expected = np.sqrt(abs(a * b)) * np.exp(-((a - b) ** 2) / (2 * 0.49)) if a * b > 0 else 0.0
        assert found[t, w, p] == pytest.approx(expected, rel=1e-5, abs=1e-7)
        assert rising[t, w, p] == pytest.approx(expected if a > 0 else 0.0, rel=1e-5, abs=1e-7)
    np.testing.assert_allclose(affinity_of_pairs(d, first[2:4], second[2:4], bandwidth=0.7), found[..., 2:4])
    matrix = to_matrix(np.arange(6.0), 4)
    assert np.array_equal(matrix, matrix.T)
    assert [matrix[i, j] for i, j in zip(first, second, strict=True)] == list(range(6))


def test_neither_gain_nor_level_of_a_trace_matters():
    traces = np.cumsum(np.random.default_rng(0).standard_normal((1, 60, 3)), axis=1)
    np.testing.assert_allclose(
        differential_affinity(traces * np.array([1.0, 5.0, 0.1]) + 7.0), differential_affinity(traces), atol=1e-5
    )


def test_windowed_correlation_is_the_correlation_in_the_window():
    traces = np.cumsum(np.random.default_rng(0).standard_normal((2, 50, 3)), axis=1)
    found = windowed_correlation(traces, window=15)
    for p, (i, j) in enumerate(zip(*pairs_of(3), strict=True)):
        part = traces[1, 13:28]
        assert found[20, 1, p] == pytest.approx(max(0.0, np.corrcoef(part[:, i], part[:, j])[0, 1]), abs=1e-5)
    with pytest.raises(UsageError, match="window"):
        windowed_correlation(traces, window=51)


def test_gaps_stay_gaps_and_do_not_leak():
    traces = np.cumsum(np.random.default_rng(0).standard_normal((1, 100, 3)), axis=1)
    broken = traces.copy()
    broken[0, 50:55, 1] = np.nan
    d, whole = normalised_derivative(broken, 2.0), normalised_derivative(traces, 2.0)
    gone = np.flatnonzero(np.isnan(d[0, :, 1]))
    assert gone.tolist() == list(range(44, 61))
    kept = ~np.isnan(d[0, :, 1])
    assert np.corrcoef(d[0, kept, 1], whole[0, kept, 1])[0, 1] > 0.999
    np.testing.assert_array_equal(d[0, :, [0, 2]], whole[0, :, [0, 2]])
    assert observed_pairs(np.isfinite(d)).shape == (100, 1, 3)
    assert observed_pairs(np.isfinite(whole)).shape == (1, 1, 3)
    # and are fitted around
    data = simulate_motifs(random_state=100)
    holed = data.traces.copy()
    holed[1, 100:130, 4] = np.nan
    found = model(n_init=1).fit(holed)
    assert np.isfinite(found.pair_).all()


def test_planted_motifs_are_found(motifs, fitted):
    used = []
    for number in range(3):
        r = motif_of(fitted, motifs, number)
        used.append(r)
        assert roc_auc_score(motifs.together(number), fitted.pair_[:, r]) > 0.95
        assert np.corrcoef(fitted.temporal_[:, r], motifs.active[number])[0, 1] > 0.6
        assert np.corrcoef(fitted.animal_[:, r], motifs.animals[number])[0, 1] > 0.7
    assert len(set(used)) == 3
    assert (np.diff(fitted.objective_) <= 0).all()
    assert (np.diff(fitted.weights_) <= 0).all()
    assert fitted.stability_.shape == (4,)
    assert fitted.error_ == pytest.approx(np.sqrt(1 - fitted.restart_scores_.max()))


def test_same_seed_same_result_and_a_clone_is_unfitted(motifs, fitted):
    again = clone(fitted).fit(motifs.traces)
    np.testing.assert_array_equal(again.pair_, fitted.pair_)
    assert all(np.array_equal(a, b) for a, b in zip(again.communities_, fitted.communities_, strict=True))
    assert not hasattr(clone(fitted), "pair_")


def test_the_order_of_neurons_and_animals_does_not_matter(motifs, fitted):
    neurons, animals = np.random.default_rng(0).permutation(30), np.array([3, 1, 4, 0, 2])
    straight, turned = (
        differential_affinity(traces) for traces in (motifs.traces, motifs.traces[animals][:, :, neurons])
    )
    number = np.full((30, 30), -1)
    number[pairs_of(30)] = np.arange(435)
    pairs = np.maximum(number, number.T)[neurons[pairs_of(30)[0]], neurons[pairs_of(30)[1]]]
    np.testing.assert_array_equal(turned, straight[:, animals][:, :, pairs])
    init = [fitted.temporal_, fitted.animal_, fitted.pair_]
    one = nonnegative_cp(straight, 4, init=init, n_iter=30)
    other = nonnegative_cp(turned, 4, init=[init[0], init[1][animals], init[2][pairs]], n_iter=30)
    np.testing.assert_allclose(other.factors[2], one.factors[2][pairs], atol=1e-3)
    np.testing.assert_allclose(other.factors[1], one.factors[1][animals], atol=1e-3)


def test_neurons_that_were_not_measured_are_not_zeros(motifs):
    mask = np.random.default_rng(0).random((5, 30)) < 0.85
    mask[:, mask.sum(axis=0) == 0] = True
    found, scores = model(n_init=5).fit(motifs.traces, mask=mask), []
    for number in range(3):
        r = motif_of(found, motifs, number)
        # pairs that were seen together in an animal with the motif: of the others nothing can be known
        there = mask[motifs.animals[number]]
        known = (there[:, pairs_of(30)[0]] & there[:, pairs_of(30)[1]]).any(axis=0)
        scores.append(roc_auc_score(motifs.together(number)[known], found.pair_[known, r]))
    assert np.mean(scores) > 0.85
    # the same by columns of NaN, and by recordings that lack channels
    missing = np.where(mask[:, None], motifs.traces, np.nan)
    by_nan = model(n_init=5).fit(missing)
    np.testing.assert_array_equal(by_nan.pair_, found.pair_)
    fewer = [
        Recording({"calcium": r.stream("calcium")[:, np.flatnonzero(row)]}, subject=r.subject)
        for r, row in zip(motifs.recording(), mask, strict=True)
    ]
    by_name = model(n_init=5).fit(fewer)
    assert sorted(by_name.unit_names_) == sorted(motifs.recording()[0].stream("calcium")["channel"].values)
    assert by_name.error_ == pytest.approx(found.error_, rel=0.02)
    # what was not measured in any animal together is told apart from what is not connected
    apart = mask.copy()
    apart[:3, :10], apart[3:, :10], apart[:3, 10:20], apart[3:, 10:20] = True, False, False, True
    split = model(n_init=1).fit(motifs.traces, mask=apart)
    never = ~(apart[:, :, None] & apart[:, None]).any(axis=0)
    np.testing.assert_array_equal(np.isnan(split.graph(0)), never & ~np.eye(30, dtype=bool))


def test_large_tensors_are_computed_by_blocks(motifs, fitted):
    streamed = model(max_entries=1000).fit(motifs.traces)
    _, cosine = match_components(
        [fitted.temporal_, fitted.animal_, fitted.pair_], [streamed.temporal_, streamed.animal_, streamed.pair_]
    )
    assert cosine.min() > 0.99
    assert streamed.error_ == pytest.approx(fitted.error_, rel=1e-3)


def test_transform_finds_the_same_loadings_again(motifs, fitted):
    found = fitted.transform(motifs.recording())
    _, cosine = match_factors(fitted.temporal_, found.temporal)
    assert cosine.min() > 0.99
    np.testing.assert_allclose(np.linalg.norm(found.temporal, axis=0), fitted.weights_, rtol=0.15)
    assert fitted.score(motifs.traces) == pytest.approx(1 - fitted.error_**2, abs=0.01)
    # another animal of the same motifs, and one of others
    alone = fitted.transform(motifs.recording()[:1])
    assert alone.temporal.shape == (300, 4)
    assert alone.animal.shape == (1, 4)
    assert fitted.score(motifs.traces) > fitted.score(simulate_motifs(random_state=7).traces)
    # neurons of other names are left out, absent ones are missing
    some = [Recording({"calcium": r.stream("calcium")[:, 5:]}, subject=r.subject) for r in motifs.recording()]
    assert fitted.transform(some).temporal.shape == (300, 4)


def test_one_component_is_legal(motifs):
    found = model(n_components=1, n_init=1).fit(motifs.traces)
    assert found.temporal_.shape == (300, 1)
    assert np.isnan(found.stability_).all()
    assert found.findings(motifs.traces).summary["components"] == 1


def test_shifted_traces_have_no_motifs_and_planted_ones_are_more(motifs):
    found = model(n_init=2).fit(motifs.traces)
    result = found.significance(motifs.traces, n_null=20, n_init=1)
    assert result.null.shape == (20,)
    assert result.significant.sum() >= 2
    assert result.pvalues[result.background] == 1.0
    rng = np.random.default_rng(1)
    shifted = motifs.traces.copy()
    for animal in shifted:
        for neuron in range(30):
            animal[:, neuron] = np.roll(animal[:, neuron], rng.integers(1, 300))
    assert not model(n_init=1).fit(shifted).significance(shifted, n_null=20).significant.any()


def test_the_number_of_components_is_chosen_by_error_and_stability(motifs):
    chosen, table = model(n_init=2).choose_components(motifs.traces, range(2, 7))
    assert table["n_components"].tolist() == [2, 3, 4, 5, 6]
    assert (np.diff(table["error"]) < 0).all()
    assert chosen in table["n_components"].tolist()


def test_worms_of_laboratories_that_named_different_neurons():
    rng = np.random.default_rng(0)
    names = [name for name in neuron_order() if name not in ("AWCL", "AWCR")][:24]
    data = simulate_motifs(6, 300, 24, size=6, n_active=4, random_state=3)
    raw = []
    for animal, traces in enumerate(data.traces):
        # rates of laboratories differ, columns are shuffled, a quarter is without a name
        times = np.arange(0, 75 - 0.5, (0.25, 0.3)[animal % 2])
        order = rng.permutation(24)[:20]
        sampled = np.stack([np.interp(times, np.arange(300) / 4, traces[:, k]) for k in order], axis=1)
        labels = [names[k] if rng.random() < 0.85 else None for k in order]
        raw.append(worm_recording(sampled, times, labels, worm=f"w{animal}", dataset=f"lab{animal % 2}"))
    worms = WormHomogenizer(dt=0.25).fit_transform(raw)
    found = model(n_components=4, n_init=4).fit(worms)
    assert set(found.unit_names_) <= set(names)
    assert found.animals_ == tuple(f"w{k}" for k in range(6))
    assert found.sfreq_ == pytest.approx(4.0)
    place = {name: k for k, name in enumerate(names)}
    columns = [place[name] for name in found.unit_names_]
    first, second = pairs_of(len(columns))
    together = [
        to_matrix(data.together(m).astype(float), 24)[np.ix_(columns, columns)][first, second] for m in range(3)
    ]
    active = data.active[:, : len(found.temporal_)]
    for number in range(3):
        r = int(np.argmax([np.corrcoef(column, active[number])[0, 1] for column in found.temporal_.T]))
        known = np.isfinite(found.pair_[:, r])
        assert roc_auc_score(together[number][known] > 0, found.pair_[known, r]) > 0.85
    assert found.findings(worms).tables["communities"]["neuron"].tolist() == list(found.unit_names_)


def test_findings_and_files(motifs, fitted, tmp_path):
    findings = fitted.findings(motifs.recording())
    assert {"motifs", "animals", "starts", "graph_1", "graph_4"} <= set(findings.panels)
    assert findings.tables["motifs"]["strength"].tolist() == fitted.weights_.tolist()
    assert len(findings.tables["communities"]) == 30
    assert findings.panels["graph_1"].weights.shape == (30, 30)
    fitted.save(tmp_path / "connectome")
    loaded = DynamicConnectome.load(tmp_path / "connectome")
    np.testing.assert_array_equal(loaded.pair_, fitted.pair_)
    assert loaded.score(motifs.recording()) == fitted.score(motifs.recording())


def test_communities_of_a_motif_are_the_planted_ones(motifs):
    scores = []
    found = model(n_init=5).fit(motifs.traces)
    for number in range(3):
        labels = found.communities_[motif_of(found, motifs, number)]
        scores.append(adjusted_rand_score(motifs.communities[number], labels))
    assert np.mean(scores) > 0.4


def test_a_trace_that_is_constant_in_an_animal_is_missing_there(motifs):
    traces = motifs.traces.copy()
    traces[1, :, 3] = 2.0
    with pytest.warns(UserWarning, match="never change within an animal"):
        found = model(n_init=1).fit(traces)
    missing = motifs.traces.copy()
    missing[1, :, 3] = np.nan
    np.testing.assert_array_equal(found.pair_, model(n_init=1).fit(missing).pair_)


def test_animals_of_different_length_are_cut(motifs):
    with pytest.warns(UserWarning, match="280 to 300 frames"):
        found = model(n_init=1).fit([motifs.traces[0], motifs.traces[1][:280]])
    assert found.temporal_.shape == (280, 4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"edge_quantile": 1.0}, "below 1"),
        ({"edge_quantile": -0.1}, "below 1"),
        ({"affinity": "correlation"}, "differential, windowed_correlation"),
        ({"community": "louvain"}, "wsbm, binary"),
        ({"n_components": 0}, "1 or more"),
        ({"n_components": 1501}, "ask for fewer components"),
        ({"sigma": 0.0}, "sigma"),
        ({"bandwidth": 0.0}, "bandwidth"),
        ({"sign": "falling"}, "both, rising"),
        ({"stream": "calcium"}, "belongs to recordings"),
        ({"affinity": lambda traces: np.ones(3)}, "must give"),
    ],
)
def test_arguments_that_do_not_fit(motifs, options, words):
    with pytest.raises(UsageError, match=words):
        model(**options).fit(motifs.traces)


def test_data_that_do_not_fit(motifs, fitted):
    infinite = motifs.traces.copy()
    infinite[0, 5, 2] = np.inf
    with pytest.raises(DataError, match="unit002"):
        model().fit(infinite)
    with pytest.raises(DataError, match="never change"):
        model().fit(np.ones((2, 50, 3)))
    with pytest.raises(DataError, match="all values are NaN"):
        model().fit(np.full((2, 50, 3), np.nan))
    with pytest.raises(DataError, match="two neurons"):
        model().fit(motifs.traces[..., :1])
    with pytest.raises(DataError, match="together"):
        model().fit(motifs.traces[:2, :, :2], mask=np.eye(2, dtype=bool))
    with pytest.raises(DataError, match="boolean"):
        model().fit(motifs.traces, mask=np.ones((5, 30)))
    with pytest.raises(DataError, match="one rate"):
        model().fit([motifs.recording(4.0)[0], motifs.recording(2.0)[1]])
    with pytest.raises(DataError, match="30 units"):
        fitted.transform(motifs.traces[..., :20])
    with pytest.raises(UsageError, match="0 to 3"):
        fitted.graph(4)
    with pytest.raises(UsageError, match="background"):
        model(n_components=1, n_init=1).fit(motifs.traces).significance(motifs.traces)
    with pytest.raises(UsageError, match="null data set"):
        fitted.significance(motifs.traces, n_null=0)
