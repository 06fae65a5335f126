"""Electrode positions of the international 10-10 system from rules, and the channel lists of common data sets.

On the unit sphere (x to the right, y to the front, z up) an electrode lies at an inclination from the vertex and an azimuth:

- the midline Fpz, AFz, Fz ... Oz, Iz at inclinations 92, 69, 46, 23, 0 ... 92 and 115 degrees;
- the outer ring Fpz, Fp2, AF8 ... Fp1 at inclination 92, every 18 degrees; the lower ring Nz, F10, FT10 ... F9 at 115;
- the rows AF, F, FC, C, CP, P and PO as nine equally spaced points on the circle through the left ring electrode, the midline
  electrode and the right ring electrode.

Jurcak, Tsuzuki & Dan (2007). 10/20, 10/10, and 10/5 systems revisited. NeuroImage 34(4), 1600-1611.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from functools import cache

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from neuropil.errors import UsageError

HEAD_RADIUS = 0.09


def _names(line: str) -> tuple[str, ...]:
    return tuple(line.split())


CH22 = _names("Fz FC3 FC1 FCz FC2 FC4 C5 C3 C1 Cz C2 C4 C6 CP3 CP1 CPz CP2 CP4 P1 Pz P2 POz")
DEAP32 = _names(
    "Fp1 AF3 F3 F7 FC5 FC1 C3 T7 CP5 CP1 P3 P7 PO3 O1 Oz Pz Fp2 AF4 Fz F4 F8 FC6 FC2 Cz C4 T8 CP6 CP2 P4 P8 PO4 O2"
)
SEED62 = _names(
    "Fp1 Fpz Fp2 AF3 AF4 F7 F5 F3 F1 Fz F2 F4 F6 F8 FT7 FC5 FC3 FC1 FCz FC2 FC4 FC6 FT8 T7 C5 C3 C1 Cz C2 C4 C6 T8 "
    "TP7 CP5 CP3 CP1 CPz CP2 CP4 CP6 TP8 P7 P5 P3 P1 Pz P2 P4 P6 P8 PO7 PO5 PO3 POz PO4 PO6 PO8 CB1 O1 Oz O2 CB2"
)
NEUROBOLT26 = _names("Fp1 Fp2 F3 F4 C3 C4 P3 P4 O1 O2 F7 F8 T7 T8 P7 P8 Fpz Fz Cz Pz POz Oz FT9 FT10 TP9 TP10")
BOLD10 = _names("Fz F3 F4 C3 Cz C4 Pz O1 Oz O2")
MONTAGES = {"bci2a": CH22, "deap": DEAP32, "seed": SEED62, "neurobolt": NEUROBOLT26, "bold10": BOLD10}

_MIDLINE = dict(
    zip(
        _names("Fpz AFz Fz FCz Cz CPz Pz POz Oz Iz"),
        (92.0, 69.0, 46.0, 23.0, 0.0, -23.0, -46.0, -69.0, -92.0, -115.0),
        strict=True,
    )
)
_OUTER_RING = _names("Fpz Fp2 AF8 F8 FT8 T8 TP8 P8 PO8 O2 Oz O1 PO7 P7 TP7 T7 FT7 F7 AF7 Fp1")
_LOWER_RING = _names("Nz N2 AF10 F10 FT10 T10 TP10 P10 PO10 I2 Iz I1 PO9 P9 TP9 T9 FT9 F9 AF9 N1")
_ROWS = {"AF": "AF7 AFz AF8", "F": "F7 Fz F8", "FC": "FT7 FCz FT8", "C": "T7 Cz T8"}
_ROWS |= {"CP": "TP7 CPz TP8", "P": "P7 Pz P8", "PO": "PO7 POz PO8"}
_ALIASES = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8", "CB1": "PO9", "CB2": "PO10", "O9": "I1", "O10": "I2"}


def sphere_point(inclination: float, azimuth: float) -> Float64[ndarray, " 3"]:
    """Unit vector at `inclination` from the vertex and `azimuth` counted from the right ear to the front, in degrees."""
    theta, phi = np.deg2rad([inclination, azimuth])
    return np.array([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)])


def _row(left: ndarray, middle: ndarray, right: ndarray) -> ndarray:
    """Nine equally spaced points on the circle (plane cut with the unit sphere) from `left` through `middle` to `right`."""
    normal = np.cross(middle - left, right - left)
    normal /= np.linalg.norm(normal)
    centre = normal * (normal @ left)
    first = (left - centre) / np.linalg.norm(left - centre)
    second = np.cross(normal, first)
    angle = np.arctan2((right - centre) @ second, (right - centre) @ first) % (2 * np.pi)
    angles = np.linspace(0, angle, 9)[:, None]
    return centre + np.linalg.norm(left - centre) * (np.cos(angles) * first + np.sin(angles) * second)


@cache
def _unit_positions() -> dict[str, ndarray]:
    positions = {name: sphere_point(abs(angle), 90.0 if angle >= 0 else -90.0) for name, angle in _MIDLINE.items()}
    for ring, inclination in ((_OUTER_RING, 92.0), (_LOWER_RING, 115.0)):
        positions |= {name: sphere_point(inclination, 90.0 - 18.0 * k) for k, name in enumerate(ring)}
    for row, anchors in _ROWS.items():
        left, middle, right = (positions[name] for name in anchors.split())
        points = _row(left, middle, right)
        for number, k in zip((5, 3, 1, 2, 4, 6), (1, 2, 3, 5, 6, 7), strict=True):
            positions[f"{row}{number}"] = points[k]
    return {name: _mirrored(name, positions) for name in positions}


def _mirrored(name: str, positions: dict[str, ndarray]) -> ndarray:
    """Make the montage symmetric to the last bit: the left half is the mirror image of the right half."""
    letters, number = site(name)
    if number == 0:
        return positions[name] * [0, 1, 1]
    if number % 2 == 0:
        return positions[name]
    return positions[f"{letters}{number + 1}"] * [-1, 1, 1]


def site(name: str) -> tuple[str, int]:
    """Row letters and number of an electrode name; the midline has the number 0."""
    match = re.fullmatch(r"([A-Za-z]+?)(z|\d+)", name)
    if match is None:
        raise UsageError(f"An electrode name of the 10-10 system ends in a number or in z, got {name!r}.")
    return match[1], 0 if match[2] == "z" else int(match[2])


def canonical_names(names: Sequence[str]) -> list[str]:
    """Names in the spelling of this montage: letter case is ignored, and T3, T4, T5, T6, CB1, CB2, O9, O10 are translated.

    Raises
    ------
    UsageError
        If a name is not in the montage.

    Examples
    --------
    >>> canonical_names(["FPZ", "T3", "fcz"])
    ['Fpz', 'T7', 'FCz']
    """
    known = {name.lower(): name for name in _unit_positions()}
    known |= {alias.lower(): name for alias, name in _ALIASES.items()}
    unknown = [name for name in names if str(name).lower() not in known]
    if unknown:
        close = difflib.get_close_matches(str(unknown[0]).lower(), known, n=1)
        hint = f" Did you mean {known[close[0]]}?" if close else ""
        raise UsageError(
            f"Channel names must be electrodes of the 10-10 system (such as Fz, C3, PO8), got {', '.join(map(repr, unknown))}.{hint}"
        )
    return [known[str(name).lower()] for name in names]


def montage_1010(names: Sequence[str], radius: float = HEAD_RADIUS) -> Float64[ndarray, "channel 3"]:
    """Positions of electrodes on a spherical head.

    Parameters
    ----------
    names : sequence of str
        Names of the 10-10 system, in any letter case.
    radius : float, default 0.09
        Radius of the head in metres; 1 gives unit vectors.

    Returns
    -------
    ndarray of shape (n_channels, 3)
        x to the right, y to the front, z up, from the centre of the sphere.

    Raises
    ------
    UsageError
        If a name is not in the montage.

    Examples
    --------
    >>> montage_1010(["Cz", "T8"], radius=1.0).round(2).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, -0.03]]
    """
    table = _unit_positions()
    return radius * np.array([table[name] for name in canonical_names(names)]).reshape(-1, 3)


def channel_names(channels: str | Sequence[str]) -> list[str]:
    """Resolve the name of a montage ("bci2a", "deap", "seed", "neurobolt", "bold10") or a list of electrodes into names.

    Raises
    ------
    UsageError
        If the montage is unknown, a name is not an electrode, or an electrode occurs twice.

    Examples
    --------
    >>> len(channel_names("bci2a")), channel_names(["C3", "C4"])
    (22, ['C3', 'C4'])
    """
    if isinstance(channels, str):
        if channels not in MONTAGES:
            raise UsageError(
                f"A montage is one of {', '.join(MONTAGES)} or a list of electrode names, got {channels!r}."
            )
        return list(MONTAGES[channels])
    names = [str(name) for name in channels]
    if not names:
        raise UsageError("At least one channel is needed, got an empty list of names.")
    canonical = canonical_names(names)
    if len(set(canonical)) < len(canonical):
        doubled = next(name for name in canonical if canonical.count(name) > 1)
        raise UsageError(f"Every electrode may occur once, got {doubled} more than once; remove the doubled name.")
    return names
