"""The haemodynamic response against its definition."""

import numpy as np
import pytest
from scipy.stats import gamma

from neuropil.errors import UsageError
from neuropil.signal.hrf import double_gamma_hrf


@pytest.mark.parametrize("peak", [4.6, 5.4, 6.2])
def test_peak_undershoot_and_sum(peak):
    sfreq = 100.0
    response = double_gamma_hrf(sfreq, peak)
    assert response.sum() == pytest.approx(1)
    assert response.argmax() / sfreq == pytest.approx(peak, abs=0.06)  # the undershoot pulls it forward a little
    assert response[0] == 0
    assert response.min() < 0
    assert 11 < response.argmin() / sfreq < 16


def test_without_undershoot_it_is_a_gamma_density():
    time = np.arange(3200) / 100
    np.testing.assert_allclose(
        double_gamma_hrf(100.0, 5.0, undershoot=0.0), gamma.pdf(time, 6) / gamma.pdf(time, 6).sum(), rtol=1e-12
    )


def test_error():
    with pytest.raises(UsageError, match="must be positive"):
        double_gamma_hrf(10.0, -1.0)
