"""Simulated EEG with known sources, events and artefacts, in four modes that share one head.

- `simulate_motor_imagery`: two to four imagined movements and idle periods;
- `simulate_emotion`: states that change the power of rhythms, each electrode by itself or only in the interaction of two;
- `simulate_eeg_bold`: resting EEG together with haemodynamic responses of regions to its rhythms;
- `simulate_segments`: single-channel segments of clean EEG, of muscle and of eye artefacts.

Each returns recordings and, for each recording, what generated it. The head is a four-shell sphere (`sphere_leadfield`) with electrodes
of the 10-10 system (`montage_1010`). Rhythms are Gaussian, without phase locking or harmonics, and changes of amplitude are the only
information about classes; absolute accuracies are not those of real recordings.
"""

from neuropil.signal.graphs import grid_graph
from neuropil.signal.montage import (
    BOLD10,
    CH22,
    DEAP32,
    HEAD_RADIUS,
    NEUROBOLT26,
    SEED62,
    channel_names,
    montage_1010,
)
from neuropil.simulate.eeg.artefacts import ArtefactMasks
from neuropil.simulate.eeg.bold import EegBoldTruth, simulate_eeg_bold
from neuropil.simulate.eeg.emotion import EmotionTruth, simulate_emotion
from neuropil.simulate.eeg.head import Dipoles, sphere_leadfield
from neuropil.simulate.eeg.motor_imagery import MotorImageryTruth, class_table, simulate_motor_imagery
from neuropil.simulate.eeg.ongoing import Head
from neuropil.simulate.eeg.params import PRESETS, SimParams
from neuropil.simulate.eeg.segments import SegmentTruth, simulate_segments, stack_segments

__all__ = [
    "BOLD10",
    "CH22",
    "DEAP32",
    "HEAD_RADIUS",
    "NEUROBOLT26",
    "PRESETS",
    "SEED62",
    "ArtefactMasks",
    "Dipoles",
    "EegBoldTruth",
    "EmotionTruth",
    "Head",
    "MotorImageryTruth",
    "SegmentTruth",
    "SimParams",
    "channel_names",
    "class_table",
    "grid_graph",
    "montage_1010",
    "simulate_eeg_bold",
    "simulate_emotion",
    "simulate_motor_imagery",
    "simulate_segments",
    "sphere_leadfield",
    "stack_segments",
]
