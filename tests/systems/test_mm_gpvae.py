"""Multi-modal Gaussian-process autoencoder: sizes, the order of latents, the bound, limits, missing modalities, what is refused."""

import warnings

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, Poisson, kl_divergence

from neuropil.errors import DataError, UsageError
from neuropil.latent import mm_gpvae
from neuropil.latent.mm_gpvae import MMGPVAE
from neuropil.latent.mm_gpvae_networks import (
    FourierPrior,
    IndependentPrior,
    MMGPVAENetwork,
    Posterior,
    TimePrior,
    three_rates,
)
from neuropil.recording import Recording
from neuropil.simulate.multimodal import simulate_multimodal
from neuropil.streams import irregular_stream, regular_stream

SMALL = {
    "hidden": (16, 8),
    "neural_hidden": (12,),
    "max_epochs": 3,
    "batch_size": 4,
    "random_state": 0,
    "progress": False,
    "lr": (1e-3, 1e-3, 5e-3),
}
FOURIER = {"lengthscale": 12.0, "min_lengthscale": 10.0, "condition": 1e8, "floor": 1e-2}


def n_parameters(module):
    return sum(p.numel() for p in module.parameters())


def prior_of(domain, n_latents, n_times=60):
    if domain == "fourier":
        return FourierPrior(n_times, n_latents, **FOURIER)
    if domain == "time":
        return TimePrior(n_times, n_latents, lengthscale=12.0, floor=1e-2)
    return IndependentPrior(n_times, n_latents)


def network(domain="fourier", n_latents=(1, 2, 3), n_times=60, **changes):
    torch.manual_seed(0)
    prior = prior_of(domain, sum(n_latents), n_times)
    sizes = {"hidden": (16, 8), "neural_hidden": (12,), **changes}
    return MMGPVAENetwork(7, 9, n_times, n_latents, prior, **sizes)


@pytest.fixture(scope="module")
def trials():
    return simulate_multimodal(12, 30, 10, random_state=0)


@pytest.fixture(scope="module")
def images(trials):
    return trials.images[..., ::9]


@pytest.fixture(scope="module")
def by_experts(trials, images):
    return MMGPVAE(**SMALL, fusion="poe").fit(trials.counts, images)


def test_parameters_at_the_papers_sizes():
    prior = FourierPrior(60, 3, **FOURIER)
    module = MMGPVAENetwork(100, 1296, 60, (1, 1, 1), prior)
    # the published basis lacks one cosine: 12 coefficients, so 60 weights less in each map along time, and a bias less
    one_cosine = 60 + 1 + 60
    behaviour = n_parameters(module.behaviour_encoder) + n_parameters(module.behaviour_decoder)
    noise_and_length = 2
    assert behaviour - one_cosine + noise_and_length == 3_236_066
    assert n_parameters(module.neural_encoder) - one_cosine == 13_676
    assert n_parameters(module.neural_decoder) == 300
    assert n_parameters(module) == 3_250_042 + 2 * one_cosine + 2  # and a length-scale for every latent
    assert len(prior.frequencies) == 13


def test_defaults_are_the_papers():
    model = MMGPVAE()
    assert (model.hidden, model.neural_hidden) == ((784, 512, 256, 256), (80, 40, 20))
    assert (model.lr, model.batch_size, model.max_epochs) == ((1.6e-4, 7.72e-4, 8.8e-3), 20, 700)
    assert (model.lengthscale, model.min_lengthscale, model.floor) == (30.0, 10.0, 1e-2)
    assert set(mm_gpvae.LAPTOP) <= set(model.get_params())


def test_shared_latents_come_last_in_both_heads_and_between_the_others_everywhere_else():
    module = network()
    with torch.no_grad():
        for encoder, means in (
            (module.neural_encoder, [1.0, 20, 30]),
            (module.behaviour_encoder, [4.0, 5, 6, 200, 300]),
        ):
            encoder.mean.weight.zero_()
            encoder.mean.bias.copy_(torch.tensor(means))
            encoder.log_sd.weight.zero_()
            encoder.log_sd.bias.copy_(torch.tensor(means) / 100)
            for of_time in (encoder.mean_in_time, encoder.log_sd_in_time):
                of_time.weight.fill_(1 / 60)
            encoder.mean_in_time.bias.zero_()
    posterior = module.encode(torch.randn(2, 60, 7), torch.randn(2, 60, 9))
    expected = torch.tensor([1, (20 + 200) / 2, (30 + 300) / 2, 4, 5, 6])
    torch.testing.assert_close(posterior.mean, expected.expand(2, 13, 6))
    torch.testing.assert_close(posterior.log_sd, (expected / 100).expand(2, 13, 6))
    # neurons read the first three, behaviour the last five
    coefficients = torch.randn(2, 13, 6)
    paths = torch.einsum("ft,nfk->ntk", module.prior.basis, coefficients)
    torch.testing.assert_close(module.behaviour(coefficients), module.behaviour_decoder(paths[..., 1:]))
    mean, _ = module.rates(Posterior(coefficients, torch.zeros_like(coefficients)))
    weight, bias = module.neural_decoder.weight, module.neural_decoder.bias
    torch.testing.assert_close(mean, paths[..., :3] @ weight.T + bias)


@pytest.mark.parametrize("domain", ["fourier", "time", "none"])
def test_divergence_is_that_of_torchs_distributions(domain):
    module = network(domain).double()
    posterior = Posterior(
        *(part.detach() for part in module.encode(torch.randn(3, 60, 7).double(), torch.randn(3, 60, 9).double()))
    )
    covariances = {
        "fourier": lambda: torch.diag_embed(module.prior.variances().T),
        "time": lambda: module.prior.roots() @ module.prior.roots().mT,
        "none": lambda: torch.eye(60).expand(6, 60, 60).double(),
    }[domain]()
    mean, log_sd = posterior.mean.mT, posterior.log_sd.mT
    q = MultivariateNormal(mean, scale_tril=torch.diag_embed(log_sd.exp()))
    expected = kl_divergence(q, MultivariateNormal(torch.zeros_like(mean[0]), covariances)).sum(dim=1)
    torch.testing.assert_close(module.prior.divergence(posterior), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("likelihood", ["poisson", "gaussian"])
def test_bound_is_the_mean_of_draws(likelihood):
    module = network(n_latents=(1, 1, 1), n_times=20, neural_likelihood=likelihood)
    module.prior = prior_of("fourier", 3, 20)
    neural = torch.poisson(torch.ones(2, 20, 7))
    posterior = module.encode(neural, torch.randn(2, 20, 9))
    drawn = posterior.mean + torch.exp(posterior.log_sd) * torch.randn(20_000, *posterior.mean.shape)
    paths = torch.einsum("ft,snfk->sntk", module.prior.basis, drawn)
    output = module.neural_decoder(paths[..., :2])
    distribution = Poisson(output.exp()) if likelihood == "poisson" else Normal(output, 1.0)
    sampled = distribution.log_prob(neural).sum(dim=(2, 3))
    found = module._neural_log_likelihood(posterior, neural)
    error = sampled.std(dim=0) / 20_000**0.5
    assert ((found - sampled.mean(dim=0)).abs() < 4 * error).all()


def test_behaviour_term_is_a_normal_log_density_of_a_draw():
    module, neural, behaviour = network(), torch.poisson(torch.ones(2, 60, 7)), torch.randn(2, 60, 9)
    torch.manual_seed(3)
    bound = module(neural, behaviour)
    torch.manual_seed(3)
    posterior = module.encode(neural, behaviour)
    drawn = posterior.mean + torch.exp(posterior.log_sd) * torch.randn_like(posterior.mean)
    expected = Normal(module.behaviour(drawn), 0.4**0.5).log_prob(behaviour).sum(dim=(1, 2))
    torch.testing.assert_close(bound.behaviour, expected)
    torch.testing.assert_close(bound.total(), bound.neural + bound.behaviour - bound.divergence)


def test_product_of_experts_weighs_by_precision_and_falls_back_to_the_prior():
    module = network(fusion="poe")
    neural, behaviour = torch.randn(2, 60, 7), torch.randn(2, 60, 9)
    variances = module.prior.variances()
    ours, theirs = module.neural_encoder(neural), module.behaviour_encoder(behaviour)
    both = module.encode(neural, behaviour)
    precision = torch.exp(-2 * ours.log_sd[..., 1:]) + torch.exp(-2 * theirs.log_sd[..., 3:]) + 1 / variances[:, 1:3]
    mean = (
        torch.exp(-2 * ours.log_sd[..., 1:]) * ours.mean[..., 1:]
        + torch.exp(-2 * theirs.log_sd[..., 3:]) * theirs.mean[..., 3:]
    ) / precision
    torch.testing.assert_close(both.mean[..., 1:3], mean)
    torch.testing.assert_close(torch.exp(2 * both.log_sd[..., 1:3]), 1 / precision)
    alone = module.encode(neural)
    torch.testing.assert_close(alone.mean[..., :1], both.mean[..., :1])
    assert (alone.mean[..., 3:] == 0).all()
    torch.testing.assert_close(torch.exp(2 * alone.log_sd[..., 3:]), variances[:, 3:].expand(2, -1, -1))
    with pytest.raises(ValueError, match="got neither"):
        module.encode()


@pytest.mark.parametrize("domain", ["fourier", "time", "none"])
def test_draws_from_the_prior_have_its_covariance(domain):
    prior = prior_of(domain, 2, 20)
    torch.manual_seed(0)
    paths = prior.to_time(prior.draw(20_000)).detach()
    variance = prior.variance_in_time(prior.variances()).detach()
    torch.testing.assert_close(paths.var(dim=0), variance, rtol=0.06, atol=0.02)
    correlation = np.corrcoef(paths[:, 9:11, 0].T)[0, 1]
    assert correlation > 0.95 if domain != "none" else abs(correlation) < 0.03


def test_training_raises_the_bound_and_finds_what_explains_counts():
    trials = simulate_multimodal(24, 30, 30, random_state=1)
    settings = {**SMALL, "max_epochs": 60, "batch_size": 12, "lr": (1e-2, 1e-2, 2e-2)}
    model = MMGPVAE(2, 0, 0, **settings, lengthscale=12.0).fit(trials.counts)
    assert model.objective_[-1] > model.objective_[0] + 100
    latents = model.transform(trials.counts).reshape(-1, 2)
    truth = trials.latents[..., :2].reshape(-1, 2)
    coefficients, *_ = np.linalg.lstsq(np.c_[latents, np.ones(len(latents))], truth, rcond=None)
    explained = 1 - (truth - np.c_[latents, np.ones(len(latents))] @ coefficients).var(axis=0) / truth.var(axis=0)
    assert explained.min() > 0.7
    rates = model.predict(trials.counts).neural
    assert np.corrcoef(rates.ravel(), trials.rates.ravel())[0, 1] > 0.9


def test_fitting_both_modalities(trials, images):
    model = MMGPVAE(**SMALL).fit(trials.counts, images)
    assert model.latent_groups_ == {"neural": slice(0, 1), "shared": slice(1, 2), "behaviour": slice(2, 3)}
    assert model.loadings_.shape == (10, 2)
    assert model.lengthscales_.shape == (3,)
    assert model.objective_.shape == (3,)
    assert model.n_parameters_ == n_parameters(model.module_)
    np.testing.assert_allclose(
        model.objective_, [r["neural"] + r["behaviour"] - r["divergence"] for r in model.history_], rtol=1e-5
    )
    predicted = model.predict(trials.counts, images)
    assert predicted.neural.shape == trials.counts.shape
    assert predicted.behaviour.shape == images.shape
    posterior = model.posterior(trials.counts, images)
    np.testing.assert_array_equal(posterior.mean, model.transform(trials.counts, images))
    mean, sd = (
        posterior.mean[..., :2] @ model.loadings_.T + model.bias_,
        posterior.sd[..., :2] ** 2 @ model.loadings_.T**2,
    )
    np.testing.assert_allclose(predicted.neural, np.exp(mean + sd / 2), rtol=1e-4)


def test_three_rates_and_three_norms(trials, images):
    model = MMGPVAE(**{**SMALL, "max_epochs": 1, "lr": (1e-3, 2e-3, 3e-3), "max_grad_norm": 0.5}).fit(
        trials.counts, images
    )
    optimizer = three_rates(model.module_, model.lr, model.max_grad_norm)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3, 2e-3, 3e-3]
    assert sum(p.numel() for group in optimizer.param_groups for p in group["params"]) == model.n_parameters_
    decoder = sum(p.numel() for p in optimizer.param_groups[2]["params"])
    assert decoder == n_parameters(model.module_.neural_decoder)
    for p in model.module_.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    for group in optimizer.param_groups:
        norm = torch.cat([p.grad.ravel() for p in group["params"]]).norm().item()
        assert norm == pytest.approx(0.5, rel=1e-3)


def test_same_seed_same_model(trials, images):
    first, second = (MMGPVAE(**SMALL).fit(trials.counts, images) for _ in range(2))
    np.testing.assert_array_equal(first.objective_, second.objective_)
    np.testing.assert_array_equal(first.transform(trials.counts, images), second.transform(trials.counts, images))
    other = MMGPVAE(**{**SMALL, "random_state": 1}).fit(trials.counts, images)
    assert not np.array_equal(first.objective_, other.objective_)


@pytest.mark.parametrize("domain", ["fourier", "time", "none"])
def test_saved_models_are_the_same_models(tmp_path, trials, images, domain):
    model = MMGPVAE(**SMALL, domain=domain).fit(trials.counts, images)
    model.save(tmp_path / "model")
    again = MMGPVAE.load(tmp_path / "model")
    np.testing.assert_array_equal(again.transform(trials.counts, images), model.transform(trials.counts, images))
    assert again.latent_groups_ == model.latent_groups_
    assert again.score(trials.counts, images) == model.score(trials.counts, images)


def test_one_modality_may_be_missing(by_experts, trials, images):
    neural, both = by_experts.transform(trials.counts), by_experts.transform(trials.counts, images)
    np.testing.assert_array_equal(neural[..., 2], 0)
    np.testing.assert_allclose(neural[..., 0], both[..., 0], atol=1e-6)
    assert np.abs(neural[..., 1] - both[..., 1]).max() > 1e-4
    predicted = by_experts.predict(X=images)
    assert predicted.neural.shape == trials.counts.shape
    sd = by_experts.posterior(X=images).sd
    module = by_experts.module_
    prior = module.prior.variance_in_time(module.prior.variances()).sqrt().detach().numpy()
    np.testing.assert_allclose(sd[..., 0], np.broadcast_to(prior[:, 0], sd.shape[:2]), rtol=1e-5)


def test_averaging_encoders_cannot_miss_one(trials, images):
    model = MMGPVAE(**SMALL).fit(trials.counts, images)
    with pytest.raises(UsageError, match="The behaviour is missing, which fusion='mean' cannot do without"):
        model.transform(trials.counts)
    with pytest.raises(UsageError, match="The neural data is missing"):
        model.predict(X=images)
    apart = MMGPVAE(1, 0, 1, **SMALL).fit(trials.counts, images)
    np.testing.assert_array_equal(apart.transform(trials.counts)[..., 1], 0)


def test_behaviour_alone_is_a_gaussian_process_autoencoder(images):
    model = MMGPVAE(0, 0, 2, **SMALL).fit(X=images)
    assert model.transform(X=images).shape == (12, 30, 2)
    predicted = model.predict(X=images)
    assert predicted.neural is None
    assert predicted.behaviour.shape == images.shape
    assert np.isfinite(model.score(X=images))
    drawn = model.sample(2, random_state=0)
    assert drawn.neural is None
    assert drawn.behaviour.shape == (2, 30, images.shape[2])


def test_units_of_the_data_come_back():
    rng = np.random.default_rng(0)
    smooth = np.cumsum(rng.normal(size=(10, 30, 1)), axis=1) / 5
    traces = 100 + 30 * (smooth * rng.normal(size=8) + 0.3 * rng.normal(size=(10, 30, 8)))
    limbs = np.array([0.0, 5.0, -3.0]) + np.array([1.0, 20.0, 0.1]) * (smooth + 0.3 * rng.normal(size=(10, 30, 3)))
    options = {**SMALL, "neural_likelihood": "gaussian", "behaviour_kind": "continuous", "max_epochs": 20}
    model = MMGPVAE(**options).fit(traces, limbs)
    predicted = model.predict(traces, limbs)
    np.testing.assert_allclose(predicted.neural.mean(axis=(0, 1)), traces.mean(axis=(0, 1)), rtol=0.1)
    off = predicted.behaviour.mean(axis=(0, 1)) - limbs.mean(axis=(0, 1))
    assert np.abs(off / limbs.std(axis=(0, 1))).max() < 0.2
    latents = model.transform(traces, limbs)
    np.testing.assert_allclose(predicted.neural, latents[..., :2] @ model.loadings_.T + model.bias_, rtol=1e-4)
    # the same data in other units: the same latents, a density that differs by the change of scale
    scaled = MMGPVAE(**options).fit(traces * 4, limbs * 0.5)
    np.testing.assert_allclose(scaled.transform(traces * 4, limbs * 0.5), latents, atol=1e-3)
    expected = model.score(traces, limbs) - 8 * np.log(4) - 3 * np.log(0.5)
    assert scaled.score(traces * 4, limbs * 0.5) == pytest.approx(expected, abs=0.05)
    np.testing.assert_allclose(scaled.noise_variance_, model.noise_variance_ / 4, rtol=1e-3)


def test_drawn_trials_look_like_the_model(by_experts):
    drawn = by_experts.sample(1500, random_state=0)
    assert drawn.neural.shape == (1500, 30, 10)
    assert (drawn.neural == np.floor(drawn.neural)).all()
    again = by_experts.sample(1500, random_state=0)
    np.testing.assert_array_equal(drawn.behaviour, again.behaviour)
    module = by_experts.module_
    variance = module.prior.variance_in_time(module.prior.variances()).detach().numpy()[15, :2]
    expected = np.exp(by_experts.bias_ + 0.5 * by_experts.loadings_**2 @ variance)
    np.testing.assert_allclose(drawn.neural.mean(axis=(0, 1)), expected, rtol=0.1)


def test_score_is_the_bound_a_bin(by_experts, trials, images):
    found = by_experts.score(trials.counts, images, n_draws=200)
    module = by_experts.module_
    with torch.inference_mode():
        data = by_experts._tensors(trials.counts.astype(float), images)
        torch.manual_seed(5)
        bounds = [module(**data).total().mean().item() / 30 for _ in range(50)]
    expected = np.mean(bounds) - np.log(np.ptp(images)) * images.shape[2]
    assert found == pytest.approx(expected, abs=6 * np.std(bounds) / 50**0.5)
    assert by_experts.score(trials.counts, images) == by_experts.score(trials.counts, images)
    with pytest.raises(UsageError, match="score needs every modality"):
        by_experts.score(trials.counts)


def recording_of(trials, images, *, bin_width=0.02):
    n_trials, n_times, _ = trials.counts.shape
    streams = {
        name: regular_stream(values.reshape(n_trials * n_times, -1), 1 / bin_width, modality=name)
        for name, values in (("spikes", trials.counts), ("behaviour", images))
    }
    return Recording(streams, trials.recording(bin_width).events)


def test_recordings_give_what_their_arrays_give(trials, images):
    recording = recording_of(trials, images)
    model, arrays = MMGPVAE(**SMALL).fit(recording), MMGPVAE(**SMALL).fit(trials.counts, images)
    np.testing.assert_array_equal(model.objective_, arrays.objective_)
    np.testing.assert_array_equal(model.transform(recording), arrays.transform(trials.counts, images))
    assert model.sfreq_ == pytest.approx(50)
    assert model.unit_names_[0] == "ch000"
    renamed = recording.copy(
        streams={
            "spikes": regular_stream(trials.counts.reshape(-1, 10), 50.0, channels=[f"n{k}" for k in range(10)]),
            "behaviour": recording.stream("behaviour"),
        }
    )
    with pytest.raises(DataError, match="bring the units into the order"):
        model.transform(renamed)
    with pytest.raises(UsageError, match="A recording has both streams; leave X out"):
        model.transform(recording, images)
    with pytest.raises(UsageError, match="Give a recording first"):
        model.transform(None, recording)


def test_spikes_at_their_own_times_are_counted_in_the_bins_of_the_behaviour(trials, images):
    times = np.concatenate(
        [np.repeat((np.arange(360) + 0.5) * 0.02, trials.counts.reshape(-1, 10)[:, unit]) for unit in range(10)]
    )
    units = np.repeat(np.arange(10), trials.counts.sum(axis=(0, 1)))
    order = np.argsort(times, kind="stable")
    recording = recording_of(trials, images)
    recording = recording.copy(
        streams={"spikes": irregular_stream(times[order], units[order]), "behaviour": recording.stream("behaviour")}
    )
    model = MMGPVAE(**SMALL).fit(recording)
    np.testing.assert_array_equal(
        model.transform(recording), MMGPVAE(**SMALL).fit(trials.counts, images).transform(trials.counts, images)
    )


def test_findings_show_paths_loadings_and_the_objective(by_experts, trials, images):
    found = by_experts.findings((trials.counts, images))
    paths = found.panels["latents"]
    assert list(paths.paths) == ["neurons alone", "shared", "behaviour alone"]
    lower, upper = paths.bands["shared"]
    assert (lower < paths.paths["shared"]).all()
    assert (paths.paths["shared"] < upper).all()
    np.testing.assert_array_equal(found.panels["loadings"].values, by_experts.loadings_)
    np.testing.assert_array_equal(found.panels["objective"].lines["training trials"], by_experts.objective_)
    assert list(found.tables["latents"].columns) == ["trial", "bin", "neurons alone 1", "shared 1", "behaviour alone 1"]
    assert list(found.tables["loadings"].columns) == ["unit", "neurons alone 1", "shared 1"]
    assert found.tables["loadings"]["unit"].tolist() == list(by_experts.unit_names_)
    assert found.summary["latents_shared"] == 1


def test_too_short_a_length_scale_is_warned_about(trials, images):
    with pytest.warns(UserWarning, match=r"Latent 0 has a length-scale of 2.* lower min_lengthscale"):
        MMGPVAE(**SMALL, lengthscale=2.0).fit(trials.counts, images)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MMGPVAE(**SMALL, lengthscale=10.0).fit(trials.counts, images)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"domain": "space"}, UsageError, "domain must be one of 'fourier', 'time', 'none', got 'space'"),
        ({"fusion": "sum"}, UsageError, "fusion must be one of 'mean', 'poe'"),
        ({"n_neural": -1}, UsageError, "n_neural must be a whole number, 0 or more, got -1"),
        ({"hidden": ()}, UsageError, "need one positive width or more"),
        ({"lr": (1e-3, 1e-3)}, UsageError, "lr must be three positive rates"),
        ({"floor": 0.0}, UsageError, "floor must be positive, got 0.0"),
        ({"max_epochs": 0}, UsageError, "max_epochs must be a whole number, 1 or more"),
        ({"n_shared": 0, "n_behaviour": 0}, UsageError, "no latent explains the behaviour; leave it out"),
        ({"n_shared": 0, "n_neural": 0}, UsageError, "no latent explains the neural data; leave it out"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(trials, images, options, error, message):
    with pytest.raises(error, match=message):
        MMGPVAE(**{**SMALL, **options}).fit(trials.counts, images)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda Y, X: (Y, X[:, :-3]), DataError, "trial 0 has 30 bins of neural data and 27 of behaviour"),
        (lambda Y, X: (Y[:-1], X), DataError, "there are 11 of neural data and 12 of behaviour"),
        (
            lambda Y, X: ([*Y[:-1], Y[-1][:9]], [*X[:-1], X[-1][:9]]),
            DataError,
            "number 0 has 30, number 11 has 9: cut them to 9",
        ),
        (lambda Y, X: (Y - 1, X), DataError, "Counts must be whole numbers, 0 or more"),
        (lambda Y, X: (Y, np.where(X > 0.9, np.nan, X)), DataError, "must be finite"),
        (lambda Y, X: (Y, np.zeros_like(X)), DataError, "All images are of one and the same brightness, 0"),
        (
            lambda Y, X: (Y, None),
            UsageError,
            "Without behaviour there is nothing for n_shared=1, n_behaviour=1 to explain",
        ),
        (
            lambda Y, X: (None, X),
            UsageError,
            "Without neural data there is nothing for n_neural=1, n_shared=1 to explain",
        ),
        (lambda Y, X: (None, None), UsageError, "got neither"),
    ],
)
def test_data_that_do_not_fit_are_refused(trials, images, change, error, message):
    with pytest.raises(error, match=message):
        MMGPVAE(**SMALL).fit(*change(trials.counts.astype(float), images))


def test_other_data_than_fitted_on_are_refused(by_experts, trials, images):
    with pytest.raises(DataError, match="fitted on trials of 30 bins, these have 20"):
        by_experts.transform(trials.counts[:, :20], images[:, :20])
    with pytest.raises(DataError, match="fitted on 10 units, these data have 9"):
        by_experts.transform(trials.counts[..., :9], images)
    with pytest.raises(DataError, match=r"fitted on 64 features of behaviour, these data have 63"):
        by_experts.transform(trials.counts, images[..., :63])
    with pytest.raises(UsageError, match="n_trials must be 1 or more"):
        by_experts.sample(0)
