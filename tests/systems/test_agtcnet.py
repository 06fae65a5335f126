"""AGTCNet: sizes, agreement with the plain way of computing it, what the graph lets through, fine-tuning, failure messages."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch.nn import functional

from neuropil.decoding.agtcnet import AGTCNet, AGTCNetClassifier
from neuropil.errors import DataError, UsageError
from neuropil.signal.graphs import grid_graph
from neuropil.signal.montage import CH22

SMALL = {
    "n_chans": 5,
    "n_outputs": 3,
    "n_times": 90,
    "sfreq": 62.5,
    "gcat_kernel_sizes": (4, 2),
    "n_filters_global": 12,
    "global_kernel_size": 4,
}
STAR = np.array([[0, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 0, 0, 1, 0], [0, 0, 1, 0, 1], [0, 0, 0, 1, 0]], dtype=bool)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def lively(network):
    """A network whose statistics, biases and slopes are not those of the start, in evaluation mode."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
    network.context.positions.scale.data.fill_(0.3)
    network.head.weight.data.mul_(3)
    network.head.max_norm = 10.0
    if network.graph is not None:
        torch.nn.init.uniform_(network.graph.attention.slopes, -0.5, 0.5)
        torch.nn.init.uniform_(network.graph.bias, -0.5, 0.5)
    return network.eval()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 74_213),
        ({"n_times": 562}, 76_517),
        ({"n_chans": 64, "n_times": 640, "sfreq": 160.0, "kernel_size": 0.2}, 86_525),
        ({"n_chans": 64, "n_times": 640, "sfreq": 160.0, "kernel_size": 0.2, "n_outputs": 2}, 83_067),
    ],
)
def test_parameters_of_the_papers_configurations(changes, expected):
    shape = {"n_chans": 22, "n_outputs": 4, "n_times": 375, "sfreq": 125.0} | changes
    network = AGTCNet(**shape, adjacency=np.zeros((shape["n_chans"],) * 2))
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == expected


def test_parameters_of_the_parts():
    network = AGTCNet(n_chans=22, n_outputs=4, n_times=375, sfreq=125.0, adjacency=grid_graph(CH22))
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
    assert parts == {
        "temporal": 256 + 16,
        "graph": 4448,
        "graph_norm": 32,
        "graph_dropout": 0,
        "spatial": 1056 + 96,
        "summary": 1536 + 18432 + 192,
        "context": 1 + 6288 + 192 + 768 + 36864 + 192,
        "head": 3844,
    }


def plain_separable(conv, x):
    taps = conv.depthwise.kernel_size
    padded = functional.pad(x, ((taps - 1) // 2, taps // 2))
    return conv.pointwise(functional.conv1d(padded, conv.depthwise.weight, groups=x.shape[1]))


def plain_norm(norm, x):
    """BatchNorm of the second axis, in evaluation mode."""
    return functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-3)


def plain_graph(graph, x, links, heads):
    """Per electrode with torch's grouped convolutions, then all pairs of electrodes."""
    flat = x.flatten(0, 1)
    stacks = torch.cat([plain_separable(graph.for_scores, flat), plain_separable(graph.for_values, flat)], dim=1)
    for_scores, values = functional.selu(plain_norm(graph.features_norm, stacks)).chunk(2, dim=1)
    per_head = for_scores.chunk(heads, dim=1)
    parts = [plain_separable(conv, per_head[k % heads]) for k, conv in enumerate(graph.scores)]
    scores = functional.selu(plain_norm(graph.scores_norm, torch.cat(parts, dim=1)))
    scores = scores.unflatten(0, x.shape[:2]).unflatten(2, (2, heads))
    values = values.unflatten(0, x.shape[:2]).unflatten(2, (heads, -1))
    pairs = scores[:, :, 0][:, None] + scores[:, :, 1][:, :, None]  # batch destination source head time
    slopes = graph.attention.slopes.permute(1, 2, 0)[None, ..., None]
    pairs = torch.where(pairs > 0, pairs, slopes * pairs).masked_fill(~links[None, :, :, None, None], -1e10)
    weights = pairs.softmax(dim=2)
    mixed = torch.einsum("bjiht,bihft->bjft", weights, values) / heads
    return mixed + graph.bias[:, None], weights


def plain_forward(network, x, links, heads=2):
    """The network in the layout of the paper, with torch's own convolutions."""
    batch, n_chans, _ = x.shape
    conv, norm = network.temporal[0], network.temporal[1]
    filtered = plain_norm(norm, functional.conv1d(x.flatten(0, 1)[:, None], conv.weight))
    electrodes = functional.avg_pool1d(filtered, 4, 2).unflatten(0, (batch, n_chans))
    mixed, weights = plain_graph(network.graph, electrodes, links, heads)
    mixed = functional.selu(plain_norm(network.graph_norm, mixed.flatten(0, 1)).unflatten(0, (batch, n_chans)))
    joined = torch.cat([electrodes, mixed], dim=2)
    spatial = torch.einsum("bnft,fmn->bfmt", joined, network.spatial[0].weight).flatten(1, 2)
    sources = functional.avg_pool1d(functional.selu(plain_norm(network.spatial[1], spatial)), 4)
    summary = functional.selu(plain_norm(network.summary[3], plain_separable(network.summary[2], sources)))
    tokens = functional.avg_pool1d(summary, 4)
    context, (_, width, n_tokens) = network.context, tokens.shape
    even = 10_000 ** (-2 * torch.arange(width // 2) / width) * torch.arange(n_tokens)[:, None]
    tokens = tokens + context.positions.scale * torch.cat([even.sin(), even.cos()], dim=1).T
    rows = tokens.transpose(1, 2)
    query, key, value = (
        part.unflatten(-1, (2, 8)).transpose(1, 2) for part in context.attention.query_key_value(rows).chunk(3, -1)
    )
    seen = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    tokens = tokens + plain_norm(context.attention_norm[0], context.attention.output(seen).transpose(1, 2))
    short = functional.selu(plain_norm(context.convolution[1], plain_separable(context.convolution[0], tokens)))
    return network.head((tokens + short).transpose(1, 2).flatten(1)), weights.permute(0, 4, 3, 1, 2)


@pytest.mark.parametrize("changes", [{}, {"gcat_kernel_sizes": (8, 3), "global_kernel_size": 8, "n_times": 131}])
def test_agrees_with_the_plain_way_of_computing_it(changes):
    network = lively(AGTCNet(**SMALL | changes, adjacency=STAR))
    x = torch.randn(4, 5, network.n_times)
    logits, weights = plain_forward(network, x, torch.as_tensor(STAR) | torch.eye(5, dtype=torch.bool))
    assert logits.std(dim=0).min() > 1e-3
    torch.testing.assert_close(network(x), logits, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(network.attention(x), weights, atol=1e-5, rtol=1e-4)


def reached(adjacency, changed):
    """Electrodes whose output of the graph attention changes with the samples of one electrode."""
    network = lively(AGTCNet(**{**SMALL, "n_chans": len(adjacency)}, adjacency=adjacency))
    electrodes = torch.randn(2, 30, len(adjacency), 8)
    other = electrodes.clone()
    other[:, :, changed] += 1
    with torch.inference_mode():
        difference = (network.graph(other) - network.graph(electrodes)).abs().amax(dim=(0, 1, 3))
    return set(np.flatnonzero(difference.numpy()))


def test_without_links_electrodes_stay_by_themselves_and_the_grid_lets_only_neighbours_through():
    assert reached(np.zeros((22, 22)), 7) == {7}
    names = {CH22[k] for k in reached(grid_graph(CH22), CH22.index("C3"))}
    assert names == {"C3", "FC3", "C5", "C1", "CP3"}
    assert {CH22[k] for k in reached(grid_graph(CH22), CH22.index("Fz"))} == {"Fz", "FCz"}


def test_weights_sum_to_one_over_sources_and_vanish_off_the_graph():
    network = lively(AGTCNet(**SMALL, adjacency=STAR))
    weights = network.attention(torch.randn(3, 5, 90))
    assert weights.shape == (3, 36, 2, 5, 5)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(3, 36, 2, 5))
    assert (weights[..., torch.as_tensor(~(STAR | np.eye(5, dtype=bool)))] == 0).all()
    assert weights.std(dim=1)[..., torch.as_tensor(STAR)].min() > 0


def test_renaming_the_electrodes_changes_nothing_else():
    order = np.array([3, 0, 4, 1, 2])
    network = lively(AGTCNet(**SMALL, adjacency=STAR))
    renamed = AGTCNet(**SMALL, adjacency=STAR[np.ix_(order, order)])
    lively(renamed).load_state_dict(network.state_dict())
    with torch.no_grad():
        slopes = network.graph.attention.slopes
        renamed.graph.attention.slopes.copy_(slopes[:, order][:, :, order])
        renamed.spatial[0].weight.copy_(network.spatial[0].weight[..., order])
    x = torch.randn(4, 5, 90)
    torch.testing.assert_close(renamed.eval()(x[:, order]), network(x), atol=1e-5, rtol=1e-4)
    weights = network.attention(x)[..., order, :][..., order]
    torch.testing.assert_close(renamed.attention(x[:, order]), weights, atol=1e-6, rtol=1e-4)


def test_a_window_does_not_depend_on_the_others_of_its_batch():
    network = lively(AGTCNet(**SMALL, adjacency=STAR))
    x = torch.randn(6, 5, 90)
    torch.testing.assert_close(network(x), torch.cat([network(w[None]) for w in x]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("adjacency", [STAR, ~np.eye(5, dtype=bool), None])
def test_every_variant_trains_all_its_parameters(adjacency):
    network = lively(AGTCNet(**SMALL, adjacency=adjacency, drop_prob=0.0))
    functional.cross_entropy(network(torch.randn(4, 5, 90)), torch.tensor([0, 1, 2, 0])).backward()
    still = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert still == set()
    if adjacency is not None:
        gradient = network.graph.attention.slopes.grad
        assert (gradient[:, torch.as_tensor(~(adjacency | np.eye(5, dtype=bool)))] == 0).all()


def test_weights_stay_in_their_bounds_while_training():
    network = AGTCNet(**SMALL, adjacency=STAR).train()
    with torch.no_grad():
        network.head.weight.mul_(100)
        network.spatial[0].weight.mul_(100)
        network.context.positions.scale.fill_(-0.2)
    network(torch.randn(4, 5, 90))
    torch.testing.assert_close(network.head.weight.norm(dim=1), torch.full((3,), 0.25))
    torch.testing.assert_close(network.spatial[0].weight.norm(dim=-1), torch.ones(24, 2))
    assert network.context.positions.scale.item() == 0


def trials(n=48, seed=0, names=("C3", "Cz", "C4", "FCz"), sfreq=62.5, shift=12.0):
    """Left or right: a rhythm in the first or third channel; of three people."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.tile(["left", "right"], n // 2))
    time = np.arange(100) / sfreq
    X = rng.normal(size=(n, len(names), 100))
    for window, label in zip(X, y, strict=True):
        window[0 if label == "left" else 2] += 2 * np.sin(2 * np.pi * (shift * time + rng.random()))
    coords = {
        "channel": list(names),
        "label": ("window", y),
        "subject": ("window", np.repeat(["a", "b", "c"], n // 3)),
    }
    return xr.DataArray(X, dims=("window", "channel", "time"), coords=coords, attrs={"sfreq": sfreq})


def decoder(**options):
    settings = {
        "n_filters_global": 12,
        "gcat_kernel_sizes": (4, 2),
        "global_kernel_size": 4,
        "norm_momentum": 0.1,
        "batch_size": 16,
        "max_epochs": 2,
        "random_state": 0,
        "progress": False,
    }
    return AGTCNetClassifier(**settings | options)


@pytest.fixture(scope="module")
def fitted():
    return decoder(max_epochs=15, lr=1e-2).fit(trials(72))


def test_learns_and_says_how_it_was_chosen(fitted):
    assert fitted.score(trials(seed=1)) > 0.8
    assert set(fitted.history_[0]) >= {"loss", "accuracy", "validation_loss", "validation_accuracy"}
    best = max(row["validation_accuracy"] for row in fitted.history_)
    assert fitted.history_[fitted.best_epoch_]["validation_accuracy"] == best
    assert fitted.adjacency_[0].tolist() == [False, True, False, False]
    assert fitted.transform(trials(6)).shape == (6, 2 * 12)


def test_fine_tuning_learns_on_and_leaves_the_original_as_it_was(fitted):
    X = trials(seed=2, shift=9.0)
    before = {name: value.clone() for name, value in fitted.module_.state_dict().items()}
    tuned = fitted.finetune(X, lr=2e-3, max_epochs=10)
    assert tuned.history_[-1]["loss"] < tuned.history_[0]["loss"]
    assert all(torch.equal(value, before[name]) for name, value in fitted.module_.state_dict().items())
    moved = [name for name, value in tuned.module_.named_parameters() if not torch.equal(value, before[name])]
    assert len(moved) == len(list(tuned.module_.parameters()))
    assert tuned.get_params() == fitted.get_params()
    with pytest.raises(DataError, match="channels in another order"):
        fitted.finetune(X[:, ::-1])
    with pytest.raises(DataError, match="got feet"):
        fitted.finetune(X, np.where(X["label"].values == "left", "feet", "right"))


def test_saved_and_loaded_it_is_the_same(fitted, tmp_path):
    X = trials(seed=3)
    loaded = AGTCNetClassifier.load(fitted.save(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.predict_proba(X), fitted.predict_proba(X))
    np.testing.assert_array_equal(loaded.attention(X[:2]), fitted.attention(X[:2]))
    np.testing.assert_array_equal(loaded.adjacency_, fitted.adjacency_)
    again = decoder(adjacency=fitted.adjacency_.astype(int), max_epochs=1).fit(X)
    copy = AGTCNetClassifier.load(again.save(tmp_path / "matrix"))
    np.testing.assert_array_equal(copy.adjacency, again.adjacency)
    np.testing.assert_array_equal(copy.predict_proba(X), again.predict_proba(X))


def test_live_probabilities_equal_those_of_the_batch(fitted):
    X = trials(12, seed=4)[:4]
    live = fitted.streaming()
    np.testing.assert_allclose(np.stack([live.push(x) for x in X.values]), fitted.predict_proba(X), atol=1e-5)


def test_the_schedule_follows_the_validation_loss():
    options = decoder().fit_options()
    parameter = torch.nn.Parameter(torch.zeros(1))
    schedule = options["make_scheduler"](torch.optim.Adam([parameter], lr=1e-3), 100)
    rates = []
    for _ in range(400):
        schedule.step(1.0)
        rates.append(schedule.optimizer.param_groups[0]["lr"])
    assert rates[10] == 1e-3
    assert rates[11] == pytest.approx(9e-4)
    assert min(rates) == pytest.approx(1e-4)
    assert options["monitor"] == "accuracy"
    assert decoder(validation=0.0).fit_options() == {}


def test_an_electrode_without_a_position():
    X = trials(12, names=("A1x", "A2x", "A3x", "A4x"))
    places = {axis: ("channel", np.arange(4.0)) for axis in "xyz"}
    assert decoder(max_epochs=1, validation=0.0).fit(X.assign_coords(places)).adjacency_.sum() == 12
    places["y"] = ("channel", [0.0, np.nan, 0.0, 0.0])
    with pytest.raises(DataError, match=r"needs names of the 10-10 system .* or a position for every channel"):
        decoder().fit(X.assign_coords(places))
    assert decoder(max_epochs=1, adjacency="full").fit(X).predict(X).shape == (12,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adjacency": "star"}, "adjacency must be one of 'grid', 'nearest', 'full', 'identity', 'none', got 'star'"),
        ({"adjacency": np.zeros((3, 3))}, r"adjacency of 4 electrodes has shape \(4, 4\), got \(3, 3\)"),
        ({"adjacency": np.full((4, 4), 0.5)}, "holds 1 .* and 0 elsewhere"),
        ({"adjacency": np.eye(4, k=1)}, "must be symmetric, but only one of the links 0-1 and 1-0 is set"),
        (
            {"kernel_size": 1.2},
            r"filters of 1.2 s needs windows of 140 samples at 62.5 Hz or more, got 100; cut longer",
        ),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        decoder(**options).fit(trials(12))


def test_other_windows_and_missing_attention_are_refused(fitted):
    network = AGTCNet(**SMALL)
    with pytest.raises(UsageError, match="built without graph attention"):
        network.attention(torch.zeros(1, 5, 90))
    with pytest.raises(UsageError, match="built for 5 channels of 90 samples, got 5 of 91"):
        network(torch.zeros(1, 5, 91))
    with pytest.raises(DataError, match="fitted on channels in another order"):
        fitted.predict(trials(12, names=("Cz", "C3", "C4", "FCz")))
    with pytest.raises(DataError, match="4 channels, this recording has 4: it lacks FCz and adds Fz"):
        fitted.predict(trials(12, names=("C3", "Cz", "C4", "Fz")))
    missing = trials(12)
    missing[3, 1, 5] = np.nan
    with pytest.raises(DataError, match=r"NaN or infinity in 1 of 12 windows .*channel Cz"):
        fitted.predict(missing)
