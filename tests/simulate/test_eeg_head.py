"""The spherical head: leadfield, montage and graph against MNE-Python and against geometry."""

import mne
import numpy as np
import pytest
from scipy.special import eval_legendre

from neuropil.errors import UsageError
from neuropil.simulate.eeg import (
    BOLD10,
    CH22,
    DEAP32,
    HEAD_RADIUS,
    NEUROBOLT26,
    SEED62,
    channel_names,
    grid_graph,
    montage_1010,
    sphere_leadfield,
)
from neuropil.simulate.eeg.head import (
    BERG_FACTORS,
    BERG_WEIGHTS,
    SHELL_CONDUCTIVITIES,
    SHELL_RADII,
    cortical_dipoles,
    random_directions,
    rotate_cap,
)

MIRROR = np.array([-1.0, 1.0, 1.0])


def random_dipoles(n, seed=0):
    rng = np.random.default_rng(seed)
    return HEAD_RADIUS * rng.uniform(0.2, 0.85, (n, 1)) * random_directions(rng, n), random_directions(rng, n)


def mne_leadfield(names, positions, berg=None):
    """Leadfield of MNE-Python's sphere for the three components of every dipole, with its own or the given constants."""
    sphere = mne.make_sphere_model(
        r0=(0.0, 0.0, 0.0),
        head_radius=HEAD_RADIUS,
        relative_radii=SHELL_RADII,
        sigmas=SHELL_CONDUCTIVITIES,
        verbose="error",
    )
    if berg is not None:
        sphere["mu"], sphere["lambda"] = (np.array(constants) for constants in berg)
    info = mne.create_info(list(names), 100.0, "eeg")
    montage = mne.channels.make_dig_montage(dict(zip(names, montage_1010(names), strict=True)), coord_frame="head")
    info.set_montage(montage, verbose="error")
    normals = np.tile([0.0, 0.0, 1.0], (len(positions), 1))
    sources = mne.setup_volume_source_space(pos={"rr": positions, "nn": normals}, sphere_units="m", verbose="error")
    forward = mne.make_forward_solution(
        info, trans=None, src=sources, bem=sphere, meg=False, eeg=True, mindist=0.0, verbose="error"
    )
    return forward["sol"]["data"]


@pytest.mark.parametrize(
    ("berg", "tolerance"), [((BERG_FACTORS, BERG_WEIGHTS), 1e-6), (None, 1e-3)], ids=["same constants", "MNE's own fit"]
)
def test_leadfield_equals_mne(berg, tolerance):
    """To 1e-6 with the same Berg-Scherg constants; MNE fits them anew, to what its optimiser reaches."""
    positions, _ = random_dipoles(40)
    names = [name for name in SEED62 if not name.startswith("CB")]
    expected = mne_leadfield(names, positions, berg)
    ours = sphere_leadfield(
        montage_1010(names), np.repeat(positions, 3, axis=0), np.tile(np.eye(3), (len(positions), 1))
    )
    assert expected.shape == ours.shape
    assert (np.linalg.norm(ours - expected, axis=0) / np.linalg.norm(expected, axis=0)).max() < tolerance


def shell_factor(degree):
    """Surface potential of degree n in four shells, relative to an infinite medium: boundary conditions of Laplace's equation."""
    radii, sigma = np.array(SHELL_RADII), SHELL_CONDUCTIVITIES
    n_unknown = 2 * len(radii) - 1  # a1, (a2, b2) ...; potential a r^n + b r^-(n+1), b1 = 1 is the source
    matrix, right = np.zeros((n_unknown, n_unknown)), np.zeros(n_unknown)

    def add(row, layer, growing, decaying):
        if layer == 0:
            matrix[row, 0] += growing
            right[row] -= decaying
        else:
            matrix[row, 2 * layer - 1] += growing
            matrix[row, 2 * layer] += decaying

    for layer, r in enumerate(radii):
        potential = (r**degree, r ** -(degree + 1))
        current = (degree * r ** (degree - 1), -(degree + 1) * r ** -(degree + 2))
        if layer < len(radii) - 1:
            add(2 * layer, layer, *potential)
            add(2 * layer, layer + 1, -potential[0], -potential[1])
            add(2 * layer + 1, layer, sigma[layer] * current[0], sigma[layer] * current[1])
            add(2 * layer + 1, layer + 1, -sigma[layer + 1] * current[0], -sigma[layer + 1] * current[1])
        else:
            add(2 * layer, layer, *current)
    growing, decaying = np.linalg.solve(matrix, right)[-2:]
    return growing + decaying


def exact_leadfield(sensors, positions, orientations, n_degrees=120):
    """Potential of dipoles in concentric shells as a series of Legendre polynomials (radii relative to the head)."""
    unit = sensors / HEAD_RADIUS
    depth = np.linalg.norm(positions, axis=1) / HEAD_RADIUS
    direction = positions / np.linalg.norm(positions, axis=1, keepdims=True)
    cosine = unit @ direction.T
    radial = (orientations * direction).sum(axis=1)
    tangential = unit @ orientations.T - cosine * radial
    potential = np.zeros_like(cosine)
    for n in range(1, n_degrees + 1):
        legendre = eval_legendre(n, cosine)
        slope = n * (eval_legendre(n - 1, cosine) - cosine * legendre) / (1 - cosine**2)
        potential += shell_factor(n) * depth ** (n - 1) * (n * legendre * radial + slope * tangential)
    return potential / (4 * np.pi * SHELL_CONDUCTIVITIES[0] * HEAD_RADIUS**2)


def test_leadfield_solves_the_shells():
    """Three equivalent dipoles approximate the exact series to better than 1 %."""
    positions, orientations = random_dipoles(200)
    sensors = montage_1010(SEED62)
    exact = exact_leadfield(sensors, positions, orientations)
    error = np.linalg.norm(sphere_leadfield(sensors, positions, orientations) - exact, axis=0)
    assert (error / np.linalg.norm(exact, axis=0)).max() < 0.01


def test_scalp_amplitude_is_physiological():
    """Some hundredths of a microvolt for each nA m."""
    leadfield = sphere_leadfield(montage_1010(CH22), *random_dipoles(200))
    assert 0.02 < np.sqrt((leadfield**2).mean()) * 1e6 * 1e-9 < 0.2


@pytest.mark.parametrize("site", ["C3", "Fz", "P4", "Oz"])
def test_radial_dipole_peaks_at_the_electrode_above(site):
    sensors = montage_1010(SEED62)
    radial = montage_1010([site], radius=1.0)
    potential = sphere_leadfield(sensors, 0.8 * HEAD_RADIUS * radial, radial)[:, 0]
    assert SEED62[int(potential.argmax())] == site


def test_potential_has_zero_mean_over_the_closed_head():
    n = 20_000
    z = 1 - (2 * np.arange(n) + 1) / n
    angle = np.pi * (1 + 5**0.5) * np.arange(n)
    closed = HEAD_RADIUS * np.stack([np.sqrt(1 - z**2) * np.cos(angle), np.sqrt(1 - z**2) * np.sin(angle), z], axis=1)
    potential = sphere_leadfield(closed, *random_dipoles(20))
    assert (np.abs(potential.mean(axis=0)) < 1e-5 * np.abs(potential).max(axis=0)).all()


def test_mirrored_source_gives_the_mirrored_map():
    right = [name for name in SEED62 if name[-1] in "2468"]
    left = [name[:-1] + str(int(name[-1]) - 1) for name in right]
    positions, orientations = random_dipoles(50)
    original = sphere_leadfield(montage_1010(right), positions, orientations)
    mirrored = sphere_leadfield(montage_1010(left), positions * MIRROR, orientations * MIRROR)
    assert np.abs(original - mirrored).max() < 1e-12 * np.abs(original).max()


def test_leadfield_is_linear_and_turns_with_the_head():
    sensors = montage_1010(CH22)
    positions, orientations = random_dipoles(10)
    _, others = random_dipoles(10, seed=1)
    combined = sphere_leadfield(sensors, positions, 2 * orientations - 3 * others)
    parts = 2 * sphere_leadfield(sensors, positions, orientations) - 3 * sphere_leadfield(sensors, positions, others)
    np.testing.assert_allclose(combined, parts, atol=1e-12 * np.abs(parts).max())
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    turned = sphere_leadfield(sensors @ turn.T, positions @ turn.T, orientations @ turn.T)
    np.testing.assert_allclose(turned, sphere_leadfield(sensors, positions, orientations), rtol=1e-9)


def test_source_at_the_centre_is_the_limit_of_sources_near_it():
    sensors = montage_1010(CH22)
    moment = np.array([[0.3, -0.5, 0.8]])
    centre = sphere_leadfield(sensors, np.zeros((1, 3)), moment)
    near = sphere_leadfield(sensors, np.full((1, 3), 2e-5), moment)
    assert np.isfinite(centre).all()
    np.testing.assert_allclose(near, centre, rtol=2e-3, atol=1e-3 * np.abs(centre).max())
    assert (sensors @ moment[0] > 0).tolist() == (centre[:, 0] > 0).tolist()


def test_montage_agrees_with_the_standard_montage():
    standard = mne.channels.make_standard_montage("standard_1005").get_positions()["ch_pos"]
    names = sorted({*SEED62, *DEAP32, *NEUROBOLT26} - {"CB1", "CB2", "FT9", "FT10", "TP9", "TP10"})
    points = np.array([standard[name] for name in names])
    # least squares: |p|^2 = 2 p.c + (r^2 - |c|^2)
    solution = np.linalg.lstsq(np.c_[2 * points, np.ones(len(points))], (points**2).sum(axis=1), rcond=None)[0]
    directions = points - solution[:3]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    ours = montage_1010(names, radius=1.0)
    # the two heads may be tilted against each other: best rotation (Kabsch)
    u, _, vt = np.linalg.svd(directions.T @ ours)
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    angles = np.rad2deg(np.arccos(np.clip(((directions @ rotation) * ours).sum(axis=1), -1, 1)))
    assert angles.mean() < 4
    assert angles.max() < 9


def test_montage_geometry():
    positions = montage_1010(["Cz", "Fz", "T8", "C3", "Oz", "Nz"], radius=1.0)
    np.testing.assert_allclose(np.linalg.norm(positions, axis=1), 1)
    np.testing.assert_allclose(np.rad2deg(np.arccos(positions[:, 2])), [0, 46, 92, 46, 92, 115], atol=1e-6)
    np.testing.assert_allclose(positions[1, 0], 0)
    assert positions[1, 1] > 0
    assert positions[2, 0] > 0
    assert positions[3, 0] < 0
    assert positions[4, 1] < 0
    np.testing.assert_array_equal(montage_1010(["F5"]) * MIRROR, montage_1010(["F6"]))


def test_channel_lists():
    assert [len(names) for names in (CH22, DEAP32, SEED62, NEUROBOLT26, BOLD10)] == [22, 32, 62, 26, 10]
    for names in (CH22, DEAP32, SEED62, NEUROBOLT26, BOLD10):
        assert channel_names(names) == list(names)
        distances = np.linalg.norm(montage_1010(names)[:, None] - montage_1010(names), axis=-1)
        assert distances[np.triu_indices(len(names), 1)].min() > 0.01
    np.testing.assert_array_equal(montage_1010(["T3", "fpz", "CB1"]), montage_1010(["T7", "Fpz", "PO9"]))


def test_graph_of_the_competition_montage():
    graph = grid_graph(CH22)
    neighbours = {name: {CH22[k] for k in np.flatnonzero(row)} for name, row in zip(CH22, graph, strict=True)}
    assert neighbours["C3"] == {"FC3", "C5", "C1", "CP3"}
    assert neighbours["Cz"] == {"FCz", "C1", "C2", "CPz"}
    assert neighbours["Pz"] == {"CPz", "P1", "P2", "POz"}
    assert neighbours["Fz"] == {"FCz"}
    assert neighbours["C5"] == {"C3"}
    assert (graph == graph.T).all()
    assert not graph.diagonal().any()


def test_graph_follows_the_order_of_the_channels():
    order = np.random.default_rng(0).permutation(len(CH22))
    shuffled = grid_graph([CH22[k] for k in order])
    np.testing.assert_array_equal(shuffled, grid_graph(CH22)[np.ix_(order, order)])


def test_cap_rotation_keeps_the_shape_of_the_cap():
    sensors = montage_1010(CH22)
    rng = np.random.default_rng(0)
    angles = []
    for _ in range(400):
        turned = rotate_cap(rng, sensors, 4.0)
        np.testing.assert_allclose(turned @ turned.T, sensors @ sensors.T, atol=1e-12)
        angles.append(np.rad2deg(np.arccos(np.clip((np.trace(np.linalg.lstsq(sensors, turned)[0]) - 1) / 2, -1, 1))))
    assert np.sqrt(np.mean(np.square(angles))) == pytest.approx(4.0, rel=0.1)


def test_cortical_dipoles_lie_where_they_should():
    dipoles = cortical_dipoles(np.random.default_rng(0), [(46.0, 180.0)] * 2000)
    depth = np.linalg.norm(dipoles.positions, axis=1) / HEAD_RADIUS
    assert 0.72 <= depth.min() < 0.73
    assert 0.81 < depth.max() <= 0.82
    directions = dipoles.positions / np.linalg.norm(dipoles.positions, axis=1, keepdims=True)
    off = np.rad2deg(np.arccos(directions @ montage_1010(["C3"], radius=1.0)[0]))
    assert np.median(off) == pytest.approx(np.rad2deg(0.08 * np.sqrt(2 * np.log(2))), rel=0.1)
    np.testing.assert_allclose(np.linalg.norm(dipoles.orientations, axis=1), 1)
    radial = (dipoles.orientations * directions).sum(axis=1)
    anterior = dipoles.orientations[:, 1]
    assert radial.mean() > 0.4
    assert anterior.mean() > 0.4
    assert abs(dipoles.orientations @ np.cross(montage_1010(["C3"], radius=1.0)[0], [0, 1, 0])).mean() < 0.4


def test_errors():
    sensors = montage_1010(CH22)
    with pytest.raises(UsageError, match=r"below 0\.9 x 0\.09 m from the centre, got 0\.085 m"):
        sphere_leadfield(sensors, [[0.0, 0.0, 0.085]], [[0.0, 0.0, 1.0]])
    with pytest.raises(UsageError, match="one orientation"):
        sphere_leadfield(sensors, [[0.0, 0.0, 0.05]], np.ones((2, 3)))
    with pytest.raises(UsageError, match="lie on one sphere"):
        sphere_leadfield(sensors * np.linspace(1, 1.1, 22)[:, None], [[0.0, 0.0, 0.05]], [[0.0, 0.0, 1.0]])
    with pytest.raises(UsageError, match="shape"):
        sphere_leadfield(sensors[:, :2], [[0.0, 0.0, 0.05]], [[0.0, 0.0, 1.0]])
    with pytest.raises(UsageError, match=r"got 'C33'\. Did you mean C3"):
        montage_1010(["C33"])
    with pytest.raises(UsageError, match="A montage is one of"):
        channel_names("10-20")
    with pytest.raises(UsageError, match="T7 more than once"):
        channel_names(["T7", "T3"])
    with pytest.raises(UsageError, match="empty"):
        channel_names([])
