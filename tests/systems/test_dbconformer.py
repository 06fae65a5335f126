"""DBConformer: sizes, agreement with the plain way of computing it, invariances, failure messages."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from neuropil.decoding.dbconformer import DBConformer, DBConformerClassifier
from neuropil.errors import UsageError

PAPER = {"n_chans": 22, "n_outputs": 2, "n_times": 1000, "sfreq": 250.0}
SMALL = {"n_chans": 5, "n_outputs": 3, "n_times": 260, "sfreq": 125.0}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def n_parameters(module):
    return sum(p.numel() for p in module.parameters())


def trained(network, **shape):
    """A network with weights of ordinary size and running statistics that are not 0 and 1, in evaluation mode."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    for weight in (network.temporal_stem.spatial_filters, network.temporal_stem.temporal_filters.weight):
        torch.nn.init.normal_(weight, std=0.3)
    return network.eval()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 93_747),
        ({"n_times": 1001}, 93_747),
        ({"n_outputs": 4}, 93_813),
        ({"depth_temporal": 6, "depth_spatial": 6}, 251_507),
        ({"n_chans": 3, "n_times": 1126}, 92_267),
        ({"n_chans": 14, "n_times": 1251}, 93_187),
        ({"n_chans": 59, "n_times": 750}, 96_627),
        (
            {
                "n_chans": 15,
                "n_times": 2561,
                "sfreq": 512.0,
                "patch_size": 0.25,
                "kernel_size": 63 / 512,
                "depth_temporal": 4,
                "depth_spatial": 4,
            },
            172_547,
        ),
        ({"channel_pooling": "mean"}, 92_066),
        ({"channel_pooling": "squeeze-excitation"}, 92_066 + 22 + 1 + 22 + 22),
        ({"fusion": "gate", "channel_pooling": "mean"}, 92_066 + 80 * 40 + 40 - 40 * 64),
        ({"fusion": "cross-attention"}, 93_747 + 4 * 1640),
        ({"branch": "temporal"}, 3_560 + 320 + 39_440 + 4_770),
        ({"branch": "spatial"}, 1_096 + 880 + 39_440 + 1_681 + 4_770),
    ],
)
def test_parameters_of_every_configuration(changes, expected):
    network = DBConformer(**{**PAPER, **changes})
    assert n_parameters(network) == expected


def test_parameters_of_the_parts():
    network = DBConformer(**PAPER)
    parts = {name: n_parameters(part) for name, part in network.named_children()}
    assert parts == {
        "temporal_stem": 3_560,
        "patch_embedding": 320,
        "temporal_encoder": 39_440,
        "electrode_encoder": 1_096,
        "electrode_embedding": 880,
        "spatial_encoder": 39_440,
        "channel_pooling": 1_681,
        "head": 7_330,
    }


def test_initial_weights():
    network = DBConformer(**{**PAPER, "n_chans": 200})
    assert network.temporal_stem.spatial_filters.std().item() == pytest.approx(0.01, rel=0.05)
    assert network.temporal_stem.temporal_filters.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert network.electrode_embedding.embedding.std().item() == pytest.approx(1, rel=0.05)
    filters = network.electrode_encoder.filters
    assert 0.15 < filters.weight.abs().max() <= 25**-0.5
    assert filters.bias.abs().max() <= 25**-0.5


def plain_encoder(encoder, tokens, emb_size, num_heads):
    for block in encoder.blocks:
        normed, attention = block.attention_norm(tokens), block.attention
        query, key, value = (
            part.unflatten(-1, (num_heads, -1)).transpose(1, 2)
            for part in attention.query_key_value(normed).chunk(3, -1)
        )
        heads = functional.scaled_dot_product_attention(query, key, value, scale=emb_size**-0.5)
        tokens = tokens + attention.output(heads.transpose(1, 2).flatten(2))
        first, _, _, second = block.mlp
        tokens = tokens + second(functional.gelu(first(block.mlp_norm(tokens))))
    return tokens


def plain_forward(network, x, *, emb_size, num_heads, patch, stride):
    """The network with torch's convolutions and attention, in the order of the paper's figure."""
    stem, n_chans = network.temporal_stem, x.shape[1]
    mixed = stem.spatial_norm(functional.conv1d(x, stem.spatial_filters[..., None]))
    kernel = stem.temporal_filters.weight
    filtered = functional.conv1d(mixed, kernel, padding=kernel.shape[-1] // 2, groups=emb_size)
    patches = functional.avg_pool1d(functional.gelu(stem.temporal_norm(filtered)), patch, patch).transpose(1, 2)
    patches = plain_encoder(network.temporal_encoder, patches + network.patch_embedding.embedding, emb_size, num_heads)
    encoder = network.electrode_encoder
    weight, bias = encoder.filters.weight[:, None], encoder.filters.bias
    single = functional.conv1d(
        x.reshape(-1, 1, x.shape[-1]), weight, bias, stride=stride, padding=weight.shape[-1] // 2
    )
    electrodes = encoder.projection(functional.elu(single).mean(-1)).unflatten(0, (-1, n_chans))
    electrodes = plain_encoder(
        network.spatial_encoder, electrodes + network.electrode_embedding.embedding, emb_size, num_heads
    )
    weights = torch.softmax(network.channel_pooling.score(electrodes), dim=1)
    features = torch.cat([patches.mean(1), (weights * electrodes).sum(1)], dim=1)
    return network.head(features), features, weights[..., 0]


@pytest.mark.parametrize("n_times", [1000, 1001, 1100])
def test_agrees_with_the_plain_way_of_computing_it(n_times):
    network = trained(DBConformer(**{**PAPER, "n_times": n_times}))
    x = torch.randn(4, 22, n_times)
    logits, features, weights = plain_forward(network, x, emb_size=40, num_heads=10, patch=125, stride=5)
    assert logits.std(dim=0).min() > 1e-3
    torch.testing.assert_close(network(x), logits, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(network.features(x), features, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(network.channel_attention(x), weights, atol=1e-6, rtol=1e-4)


def test_training_mode_and_gradients_agree_with_the_plain_way():
    network = trained(DBConformer(**PAPER, drop_prob=0.0)).train()
    x, y = torch.randn(6, 22, 1000), torch.tensor([0, 1, 0, 1, 1, 0])
    gradients = []
    for logits in (network(x), plain_forward(network, x, emb_size=40, num_heads=10, patch=125, stride=5)[0]):
        network.zero_grad()
        functional.cross_entropy(logits, y).backward()
        gradients.append([p.grad.clone() for p in network.parameters()])
    for ours, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-3)


def test_sizes_in_samples_follow_the_sampling_rate():
    def sizes(sfreq, **arguments):
        stem = DBConformer(n_chans=2, n_outputs=2, n_times=2000, sfreq=sfreq, **arguments).temporal_stem
        return stem.patch_size, stem.temporal_filters.kernel_size

    assert sizes(250.0) == (125, 63)
    assert sizes(125.0) == (62, 31)
    assert sizes(62.5, patch_size=0.4, kernel_size=0.5) == (25, 31)


def test_a_window_does_not_depend_on_the_others_of_its_batch():
    network = trained(DBConformer(**SMALL))
    x = torch.randn(6, 5, 260)
    alone = torch.cat([network(window[None]) for window in x])
    torch.testing.assert_close(network(x), alone, atol=1e-5, rtol=1e-4)
    others = torch.cat([x[:1], 100 * torch.randn(3, 5, 260)])
    torch.testing.assert_close(network(others)[:1], alone[:1], atol=1e-5, rtol=1e-4)


def test_renaming_the_electrodes_renames_their_weights_only():
    network, order = trained(DBConformer(**SMALL)), torch.tensor([3, 0, 4, 1, 2])
    x = torch.randn(4, 5, 260)
    logits, weights = network(x), network.channel_attention(x)
    with torch.no_grad():
        network.temporal_stem.spatial_filters.copy_(network.temporal_stem.spatial_filters[:, order].clone())
        network.electrode_embedding.embedding.copy_(network.electrode_embedding.embedding[:, order].clone())
    torch.testing.assert_close(network(x[:, order]), logits, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(network.channel_attention(x[:, order]), weights[:, order], atol=1e-6, rtol=1e-4)


def test_samples_behind_the_last_patch_reach_the_spatial_branch_and_the_filters_only():
    network = trained(DBConformer(**{**SMALL, "n_times": 300, "branch": "temporal"}))
    x = torch.randn(3, 5, 300)
    changed = x.clone()
    changed[..., 248 + 15 :] += 1  # four patches of 62 samples, filters reach 15 further
    assert torch.equal(network(changed), network(x)) or (network(changed) - network(x)).abs().max() < 1e-6
    changed[..., 248 + 14] += 1
    assert (network(changed) - network(x)).abs().max() > 1e-5
    both = trained(DBConformer(**{**SMALL, "n_times": 300}))
    assert (both(torch.cat([x[..., :-10], x[..., -10:] + 1], -1)) - both(x)).abs().max() > 1e-5


def test_spatial_branch_cannot_tell_when_something_happened():
    network = DBConformer(n_chans=3, n_outputs=2, n_times=500, sfreq=250.0, branch="spatial").eval()
    burst = torch.zeros(2, 3, 500)
    burst[0, :, 100:150] = burst[1, :, 300:350] = torch.randn(3, 50)
    torch.testing.assert_close(network(burst)[0], network(burst)[1], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "n_features"),
    [
        ({}, 80),
        ({"branch": "temporal"}, 40),
        ({"branch": "spatial"}, 40),
        ({"channel_pooling": "mean"}, 80),
        ({"channel_pooling": "squeeze-excitation"}, 80),
        ({"fusion": "gate"}, 40),
        ({"fusion": "cross-attention"}, 80),
        ({"depth_temporal": 0, "emb_size": 24, "num_heads": 4}, 48),
    ],
)
def test_every_variant_trains_all_its_parameters(changes, n_features):
    network = DBConformer(**SMALL, **changes)
    if changes.get("channel_pooling") == "squeeze-excitation":
        torch.nn.init.ones_(network.channel_pooling.gates[0].bias)  # its one hidden unit may start silent
    x = torch.randn(4, 5, 260)
    assert network.features(x).shape == (4, n_features)
    logits = network.eval()(x)
    assert logits.shape == (4, 3)
    functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
    untouched = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert untouched in ([], ["channel_pooling.score.2.bias"])  # a constant added to all scores changes no weight


def test_gate_mixes_the_summaries_of_the_single_branches():
    network = trained(DBConformer(**SMALL, fusion="gate", channel_pooling="mean"))
    x = torch.randn(3, 5, 260)
    with torch.no_grad():
        network.gate.gate.weight.zero_()
        network.gate.gate.bias.fill_(40.0)
        spatial = network.features(x)
        network.gate.gate.bias.fill_(-40.0)
        temporal = network.features(x)
        network.gate.gate.bias.zero_()
    torch.testing.assert_close(network.features(x), (spatial + temporal) / 2)
    network.branch = "temporal"
    torch.testing.assert_close(network.features(x), temporal)


def test_attention_maps_of_both_branches():
    network = DBConformer(**SMALL).eval()
    maps = network.attention_maps(torch.randn(2, 5, 260))
    assert {name: tuple(values.shape) for name, values in maps.items()} == {
        "temporal": (2, 2, 10, 4, 4),
        "spatial": (2, 2, 10, 5, 5),
    }
    for values in maps.values():
        torch.testing.assert_close(values.sum(-1), torch.ones(values.shape[:-1]))
    assert list(DBConformer(**SMALL, branch="spatial").attention_maps(torch.randn(1, 5, 260))) == ["spatial"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_times": 61}, r"A patch of 0.5 s is 62 samples at 125 Hz, but windows have 61; cut longer windows"),
        ({"emb_size": 36}, "emb_size must be a multiple of num_heads, got emb_size=36 and num_heads=10"),
        ({"branch": "all"}, "branch must be one of 'both', 'temporal', 'spatial', got 'all'"),
        (
            {"channel_pooling": "max"},
            "channel_pooling must be one of 'attention', 'mean', 'squeeze-excitation', got 'max'",
        ),
        ({"fusion": "sum"}, "fusion must be one of 'concatenate', 'gate', 'cross-attention', got 'sum'"),
        ({"spatial_kernel_size": 24}, "must be an odd number of samples and spatial_stride at least 1, got 24 and 5"),
        ({"spatial_stride": 0}, "got 25 and 0"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    rng = np.random.default_rng(0)
    n_times, arguments = changes.get("n_times", 260), {k: v for k, v in changes.items() if k != "n_times"}
    decoder = DBConformerClassifier(**arguments, sfreq=125.0, max_epochs=1)
    with pytest.raises(UsageError, match=message):
        decoder.fit(rng.normal(size=(8, 5, n_times)), np.tile([0, 1], 4))


def test_shapes_it_was_not_built_for_and_weights_it_does_not_have():
    network = DBConformer(**SMALL)
    with pytest.raises(UsageError, match="built for 5 channels of 260 samples, got 5 of 261"):
        network(torch.zeros(1, 5, 261))
    with pytest.raises(UsageError, match="does not weigh electrodes; use branch='both' or 'spatial'"):
        DBConformer(**SMALL, branch="temporal").channel_attention(torch.zeros(1, 5, 260))


@pytest.mark.parametrize("alignment", ["euclidean", "none"])
def test_live_probabilities_equal_those_of_the_batch(alignment):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(16, 4, 250)), np.tile(["left", "right"], 8)
    decoder = DBConformerClassifier(max_epochs=1, sfreq=250.0, random_state=0, alignment=alignment, progress=False).fit(
        X, y
    )
    live = decoder.streaming()
    np.testing.assert_allclose(np.stack([live.push(x) for x in X]), decoder.predict_proba(X), atol=1e-5)


def test_a_transductive_network_cannot_run_live():
    with pytest.raises(UsageError, match="cannot run live"):
        DBConformerClassifier(alignment="transductive").streaming()
