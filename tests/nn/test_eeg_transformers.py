"""Blocks of EEG foundation models: patches, electrodes by name, linear attention, spectra at several scales, learning-rate schedules."""

import numpy as np
import pytest
import torch
from scipy.signal import stft as scipy_stft
from torch import nn
from torch.nn import functional

from neuropil.errors import UsageError
from neuropil.nn.attention import FUSED_TOKENS, MultiHeadAttention, TransformerBlock
from neuropil.nn.electrodes import LABRAM_ELECTRODES, ElectrodeEmbedding, electrode_rows
from neuropil.nn.linear_attention import LinearAttention, LinearTransformer
from neuropil.nn.patches import PatchConvolution
from neuropil.nn.schedules import layer_decay_groups, warmup_cosine
from neuropil.nn.spectrogram import MultiScaleSpectralEmbedding, stft_magnitudes


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_the_electrodes_of_labram():
    assert len(LABRAM_ELECTRODES) == len({name.upper() for name in LABRAM_ELECTRODES}) == 128
    assert [LABRAM_ELECTRODES[k] for k in (0, 1, 41, 80, 112)] == ["FP1", "FPZ", "CZ", "O1", "T1"]


def test_electrodes_are_found_by_name_in_any_order_and_case():
    embedding = ElectrodeEmbedding(["C3", "Cz", "C4"], 5)
    torch.testing.assert_close(embedding(["c4", "CZ"]), embedding.table[[2, 1]])
    with_class = ElectrodeEmbedding(["C3", "Cz", "C4"], 5, class_row=True)
    torch.testing.assert_close(with_class(["Cz"]), with_class.table[[0, 2]])


def test_unknown_and_doubled_electrodes_are_refused():
    with pytest.raises(UsageError, match=r"no vector for the electrode 'Czz', the nearest known name is Cz; rename"):
        ElectrodeEmbedding(["C3", "Cz"], 4)(["C3", "Czz"])
    with pytest.raises(UsageError, match="got 'cz' more than once"):
        electrode_rows(["Cz", "cz"], LABRAM_ELECTRODES)


def test_patch_convolution_by_single_convolutions():
    encoder = PatchConvolution(64, 48)
    x = torch.randn(2, 3, 4, 64)
    rows = x.reshape(2, 12, 64)
    first, norm = encoder.layers[0], encoder.layers[1]
    assert first.weight.shape == (6, 1, 1, 15)
    assert (norm.num_groups, norm.num_channels) == (2, 6)
    # group normalisation is over all patches of a window
    steps = functional.conv1d(rows.reshape(24, 1, 64), first.weight[:, :, 0], first.bias, stride=8, padding=7)
    steps = steps.reshape(2, 12, 6, 8).permute(0, 2, 1, 3).reshape(2, 2, 3 * 12 * 8)
    steps = (steps - steps.mean(-1, keepdim=True)) / (steps.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(encoder.layers[:2](rows[:, None]), steps.reshape(2, 6, 12, 8), atol=1e-5, rtol=1e-4)
    whole = encoder.layers(rows[:, None])
    torch.testing.assert_close(encoder(x), whole.permute(0, 2, 3, 1).reshape(2, 3, 4, 48))


def test_patches_that_do_not_fill_a_token_are_refused():
    with pytest.raises(
        UsageError, match=r"A patch of 200 samples gives 25 steps of 8, which must divide the 48 features"
    ):
        PatchConvolution(200, 48)


def test_linear_attention_by_hand():
    attention = LinearAttention(6, num_heads=2).eval()
    tokens = torch.randn(1, 5, 6)
    query, key, value = (tokens[0] @ attention.query_key_value.weight[6 * k : 6 * k + 6].T for k in range(3))
    heads = []
    for h in range(2):
        mine = slice(3 * h, 3 * h + 3)
        kept = torch.softmax(key[:, mine], dim=0).T @ value[:, mine]
        heads.append(torch.softmax(query[:, mine], dim=1) / 3**0.5 @ kept)
    by_hand = torch.cat(heads, dim=1) @ attention.output.weight.T + attention.output.bias
    torch.testing.assert_close(attention(tokens)[0], by_hand)


def test_linear_transformer_does_not_know_the_order_of_tokens():
    network, tokens, order = LinearTransformer(2, 8, num_heads=2), torch.randn(2, 7, 8), torch.randperm(7)
    torch.testing.assert_close(network(tokens[:, order]), network(tokens)[:, order], atol=1e-6, rtol=1e-5)
    plain = tokens
    for attention, mlp in zip(network.attention, network.mlp, strict=True):
        plain = plain + attention[1](functional.layer_norm(plain, (8,), attention[0].weight, attention[0].bias))
        plain = plain + mlp(plain)
    torch.testing.assert_close(network(tokens), plain)


def test_heads_must_fit():
    with pytest.raises(UsageError, match="must be a multiple of the heads, got 3"):
        LinearAttention(8, num_heads=3)


@pytest.mark.parametrize("size", [32, 64, 256])
def test_spectra_agree_with_torch_and_scipy(size):
    x = torch.randn(3, 1024)
    ours = stft_magnitudes(x, size)
    theirs = torch.stft(x, size, size, window=torch.ones(size), center=False, return_complex=True).abs()
    torch.testing.assert_close(ours, theirs.transpose(1, 2), atol=1e-4, rtol=1e-4)
    _, _, scipys = scipy_stft(x.numpy(), nperseg=size, noverlap=0, window="boxcar", boundary=None, padded=False)
    np.testing.assert_allclose(ours.numpy(), size * np.abs(scipys).transpose(0, 2, 1), atol=1e-3)


def test_multi_scale_embedding_by_linear_maps():
    embedding = MultiScaleSpectralEmbedding(128, 16, 3, 10)
    x = torch.randn(2, 4, 128)
    total = torch.zeros(2, 4, 8, 10)
    for size, frequencies, stretches in zip((16, 32, 64), embedding.of_frequencies, embedding.of_windows, strict=True):
        total += stretches(frequencies(stft_magnitudes(x, size)).transpose(-1, -2)).transpose(-1, -2)
    torch.testing.assert_close(embedding(x), total)
    logarithmic = MultiScaleSpectralEmbedding(128, 16, 1, 10, log=True)
    expected = logarithmic.of_frequencies[0](stft_magnitudes(x, 16).log1p())
    expected = logarithmic.of_windows[0](expected.transpose(-1, -2)).transpose(-1, -2)
    torch.testing.assert_close(logarithmic(x), expected)


def test_scales_that_do_not_fit_are_refused():
    with pytest.raises(
        UsageError, match="4 scales from 32 samples on need a window of a multiple of 256 samples, got 1000"
    ):
        MultiScaleSpectralEmbedding(1000, 32, 4, 8)
    with pytest.raises(UsageError, match="A window of 20 samples does not fit into 10"):
        stft_magnitudes(torch.zeros(1, 10), 20)


def test_many_tokens_go_through_the_fused_kernel_with_the_same_result():
    attention = MultiHeadAttention(16, num_heads=4, qk_norm=True)
    tokens = torch.randn(2, FUSED_TOKENS + 3, 16)
    maps, values = attention._maps_and_values(tokens, None)
    plain = attention.output((maps @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(tokens), plain, atol=1e-6, rtol=1e-5)
    attention.train()
    attention.dropout.p = 0.5
    assert (attention(tokens) - plain).abs().max() > 1e-3  # dropout of the weights still happens


def test_the_blocks_normalisations_and_hidden_dropout_can_be_set():
    block = TransformerBlock(8, num_heads=2, drop_prob=0.3, hidden_drop_prob=0.0, norm_eps=1e-6)
    assert (block.attention_norm.eps, block.mlp_norm.eps, block.mlp[2].p) == (1e-6, 1e-6, 0.0)
    assert block.attention_residual[0].p == 0.3
    usual = TransformerBlock(8, num_heads=2, drop_prob=0.3)
    assert (usual.attention_norm.eps, usual.mlp[2].p) == (1e-5, 0.3)


def test_layer_decay_groups_hold_every_trainable_parameter_once():
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 1))
    network[1].weight.requires_grad_(False)
    groups = layer_decay_groups(
        network, lambda name: 3 - int(name[0]), lr=1.0, layer_decay=0.5, weight_decay=0.1, no_weight_decay={"3.weight"}
    )
    found = [p for group in groups for p in group["params"]]
    assert {id(p) for p in found} == {id(p) for p in network.parameters() if p.requires_grad}
    assert len(found) == len(list(network.parameters())) - 1
    rate = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert rate[id(network[0].weight)] == (0.125, 0.1)
    assert rate[id(network[0].bias)] == (0.125, 0.0)
    assert rate[id(network[2].weight)] == (0.5, 0.0)
    assert rate[id(network[3].weight)] == (1.0, 0.0)
    with pytest.raises(UsageError, match="factor above 0 and up to 1, got 0"):
        layer_decay_groups(network, lambda name: 0, lr=1.0, layer_decay=0)


def test_warmup_and_cosine_of_every_group():
    first, second = (nn.Parameter(torch.zeros(1)) for _ in range(2))
    optimizer = torch.optim.SGD([{"params": [first], "lr": 1.0}, {"params": [second], "lr": 0.1}])
    schedule = warmup_cosine(optimizer, 10, warmup_steps=5, floor=0.2)
    rates = []
    for _ in range(10):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    rates = np.array(rates)
    np.testing.assert_allclose(rates[:, 1], 0.1 * rates[:, 0])
    np.testing.assert_allclose(rates[:5, 0], np.linspace(0, 1, 5))
    np.testing.assert_allclose(rates[5:, 0], 0.2 + 0.4 * (1 + np.cos(np.pi * np.arange(5) / 5)))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.2)
    with pytest.raises(UsageError, match="The warm-up must be part of the 3 steps, got 4"):
        warmup_cosine(optimizer, 3, warmup_steps=4)
