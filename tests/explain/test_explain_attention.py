"""Attention maps: the right way round, averaged, rolled out."""

from functools import lru_cache

import numpy as np
import pytest
from explained import Graph, imagery_decoder, labelled, motor_imagery, steps

from neuropil.decoding import make
from neuropil.errors import UsageError
from neuropil.explain import attention_maps, attention_rollout


@lru_cache
def conformer():
    train, _, _ = motor_imagery()
    options = {"spatial_kernel_size": 13, "spatial_stride": 3, "emb_size": 10, "num_heads": 2, "depth_spatial": 3}
    return make("dbconformer", max_epochs=1, random_state=0, progress=False, **options).fit(train[:30])


def test_dbconformer_shows_patches_electrodes_and_weights():
    _, X, _ = motor_imagery()
    found = attention_maps(conformer(), X)
    assert set(found) == {"temporal", "temporal rollout", "spatial", "spatial rollout", "channel weights"}
    assert found["spatial"].dims == ("layer", "head", "target", "source")
    assert found["spatial"].shape == (3, 2, 8, 8)
    assert found["spatial"]["source"].values.tolist() == X["channel"].values.tolist()
    assert found["temporal"].shape == (2, 2, 4, 4)
    for name in ("temporal", "spatial", "temporal rollout", "spatial rollout"):
        np.testing.assert_allclose(found[name].sum("source"), 1, rtol=1e-5)
    weights = conformer().channel_attention(X).mean(axis=0)
    np.testing.assert_allclose(found["channel weights"], weights, rtol=1e-5)


def test_maps_are_means_over_windows():
    import torch

    _, X, _ = motor_imagery()
    prepared = torch.as_tensor(conformer()._run(X, forward=lambda batch: batch))
    with torch.no_grad():
        expected = conformer().module_.attention_maps(prepared)["spatial"].mean(dim=1)
    np.testing.assert_allclose(attention_maps(conformer(), X)["spatial"], expected, atol=1e-6)


def test_a_branch_without_electrodes_has_no_weights_of_them():
    train, X, _ = motor_imagery()
    network = make("dbconformer", branch="temporal", max_epochs=1, random_state=0, progress=False).fit(train[:30])
    assert set(attention_maps(network, X)) == {"temporal", "temporal rollout"}


def test_attention_of_the_estimator_is_turned_so_that_rows_receive():
    X, y = steps()
    network = Graph(max_epochs=1, random_state=0, progress=False).fit(X, y)
    found = attention_maps(network, labelled(X, y))
    given = network.attention(X)[0]
    np.testing.assert_allclose(given.sum(axis=-2), 1, rtol=1e-6)
    np.testing.assert_allclose(found["electrodes"], given.swapaxes(-1, -2), rtol=1e-6)
    assert found["electrodes"].dims[0] == "layer"
    assert "electrodes rollout" in found
    network.depth = 7
    found = attention_maps(network, labelled(X, y))
    assert found["electrodes"].dims[0] == "step"
    assert "electrodes rollout" not in found, "there is no flow through points in time"


def test_rollout_follows_the_layers():
    rng = np.random.default_rng(0)
    maps = rng.dirichlet(np.ones(5), size=(3, 4, 2, 5))
    layers = (maps.mean(axis=2) + np.eye(5)) / 2
    expected = layers[:, 3] @ layers[:, 2] @ layers[:, 1] @ layers[:, 0]
    np.testing.assert_allclose(attention_rollout(maps), expected, rtol=1e-12)
    alone = np.broadcast_to(np.eye(5), (2, 3, 5, 5))
    np.testing.assert_array_equal(attention_rollout(alone), np.eye(5))


def test_decoders_without_attention():
    with pytest.raises(UsageError, match="EEGNetClassifier attends to nothing"):
        attention_maps(imagery_decoder("eegnet"), motor_imagery()[1])
