"""Metrics: known answers, agreement with scikit-learn, invariances, and what is said when they cannot be computed."""

from inspect import unwrap

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.special import xlogy

from neuropil.errors import DataError, UsageError
from neuropil.evaluate.information import (
    bits_wolpaw,
    itr_mutual_information,
    itr_wolpaw,
    mutual_information,
    mutual_information_bias,
)
from neuropil.evaluate.metrics import (
    METRICS,
    Metric,
    accuracy,
    balanced_accuracy,
    calibration_error,
    chance_level,
    cohen_kappa,
    confusion_matrix,
    log_loss,
    macro_f1,
    mcc,
    nmcc,
    recall_per_class,
    roc_auc,
    score,
)

CLASSES = np.array(["idle", "left", "right"])
LABELS = [metric for metric in METRICS.values() if metric.needs == "label"]
PROBABILITIES = [metric for metric in METRICS.values() if metric.needs == "proba"]


def labels_from(cm):
    true, predicted = np.indices(cm.shape)
    return np.repeat(true.ravel(), cm.ravel()), np.repeat(predicted.ravel(), cm.ravel())


def random_decoder(rng, n_windows=80, n_classes=4, signal=1.0):
    y = rng.integers(n_classes, size=n_windows)
    y[:n_classes] = np.arange(n_classes)
    logits = rng.standard_normal((n_windows, n_classes)) + signal * np.eye(n_classes)[y]
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return y, proba.argmax(axis=1), proba


counts = arrays(np.int64, array_shapes(min_dims=1, max_dims=1, min_side=2, max_side=5).map(lambda s: (s[0], s[0])),
                elements=st.integers(0, 30)).filter(np.any)  # fmt: skip


class TestKnownAnswers:
    def test_wolpaw(self):
        assert itr_wolpaw(1.0, 2, 2.0) == 30.0
        assert bits_wolpaw(0.9, 2) == pytest.approx(0.531, abs=5e-4)
        assert itr_wolpaw(1.0, 4, 1.0) == 120.0
        for n_classes in range(2, 8):
            assert itr_wolpaw(1 / n_classes, n_classes, 2.0) == 0.0
            assert itr_wolpaw(0.0, n_classes, 2.0) == 0.0

    def test_wolpaw_credits_a_decoder_that_says_nothing_where_classes_are_unbalanced(self):
        y = np.array(["idle"] * 20 + ["left"] * 10 + ["right"] * 10)
        silent = np.full(40, "idle")
        assert score("itr_wolpaw", y, silent, None, CLASSES, 60.0) == pytest.approx(np.log2(3) - 1.5)
        assert score("itr_mi", y, silent, None, CLASSES, 60.0) == 0.0
        assert score("nmcc", y, silent, None, CLASSES) == 0.5

    def test_mutual_information_of_a_symmetric_channel_is_wolpaws_formula(self):
        cm = np.full((4, 4), 5) + 80 * np.eye(4, dtype=int)
        assert mutual_information(cm) == pytest.approx(bits_wolpaw(85 / 100, 4))
        assert itr_mutual_information(cm, 2.0) == pytest.approx(30 * bits_wolpaw(0.85, 4))

    def test_mutual_information_is_sklearns(self):
        rng = np.random.default_rng(0)
        for _ in range(20):
            cm = rng.integers(0, 9, size=(4, 4))
            nats = reference.mutual_info_score(None, None, contingency=cm)
            assert mutual_information(cm) == pytest.approx(nats / np.log(2), abs=1e-12)

    def test_bias_is_what_independent_classes_show_on_average(self):
        rng = np.random.default_rng(1)
        p = np.outer([0.5, 0.3, 0.2], [0.4, 0.4, 0.2]).ravel()
        tables = rng.multinomial(150, p, size=2000).reshape(-1, 3, 3)
        mean = np.mean([mutual_information(cm) for cm in tables])
        assert mean == pytest.approx(mutual_information_bias(tables[0]), rel=0.1)

    def test_confusion_matrix_counts_true_in_rows(self):
        y_true, y_pred = np.array(["left", "left", "right"]), np.array(["right", "left", "right"])
        expected = [[0, 0, 0], [0, 1, 1], [0, 0, 1]]
        np.testing.assert_array_equal(confusion_matrix(y_true, y_pred, CLASSES), expected)

    def test_calibration_by_hand(self):
        """Two bins: confidence 0.6, one of two right; confidence 0.9, two of two right."""
        proba = np.array([[0.6, 0.4], [0.6, 0.4], [0.9, 0.1], [0.9, 0.1]])
        y = np.array([0, 1, 0, 0])
        assert calibration_error(y, proba, np.array([0, 1]), n_bins=2) == pytest.approx((0.1 * 2 + 0.1 * 2) / 4)
        assert calibration_error(y, proba, np.array([0, 1]), n_bins=1) == pytest.approx(0.0)

    def test_calibration_with_a_bin_a_window(self):
        """Right and wrong in turn: any two windows in one bin would make up for each other."""
        p, y = np.linspace(0.55, 0.95, 30), np.tile([0, 1], 15)
        error = calibration_error(y, np.column_stack([p, 1 - p]), np.array([0, 1]), n_bins=30)
        assert error == pytest.approx(np.mean(np.abs(p - (y == 0))))

    def test_calibration_tells_an_overconfident_decoder(self):
        rng = np.random.default_rng(2)
        p = rng.uniform(0.5, 1.0, size=20_000)
        y = (rng.random(20_000) > p).astype(int)
        calibrated = np.column_stack([p, 1 - p])
        sharpened = calibrated**3 / (calibrated**3).sum(axis=1, keepdims=True)
        assert calibration_error(y, calibrated, np.array([0, 1])) < 0.02
        expected = np.mean(sharpened[:, 0] - p)
        assert calibration_error(y, sharpened, np.array([0, 1])) == pytest.approx(expected, abs=0.02)


class TestAgreementWithScikitLearn:
    @pytest.mark.parametrize("n_classes", [2, 3, 6])
    def test_label_scores(self, n_classes):
        rng = np.random.default_rng(n_classes)
        for _ in range(30):
            y_true, y_pred = labels_from(rng.integers(0, 12, size=(n_classes, n_classes)))
            if len(np.unique(y_true)) < n_classes:
                continue
            assert nmcc(y_true, y_pred) == pytest.approx((reference.matthews_corrcoef(y_true, y_pred) + 1) / 2)
            assert mcc(y_true, y_pred) == pytest.approx(reference.matthews_corrcoef(y_true, y_pred))
            assert cohen_kappa(y_true, y_pred) == pytest.approx(reference.cohen_kappa_score(y_true, y_pred))
            assert accuracy(y_true, y_pred) == pytest.approx(reference.accuracy_score(y_true, y_pred))
            assert balanced_accuracy(y_true, y_pred) == pytest.approx(reference.balanced_accuracy_score(y_true, y_pred))
            assert macro_f1(y_true, y_pred) == pytest.approx(reference.f1_score(y_true, y_pred, average="macro"))
            np.testing.assert_allclose(
                recall_per_class(y_true, y_pred), reference.recall_score(y_true, y_pred, average=None)
            )

    def test_probability_scores(self):
        rng = np.random.default_rng(5)
        for n_classes in (3, 5):
            y, _, proba = random_decoder(rng, n_classes=n_classes)
            classes = np.arange(n_classes)
            expected = reference.roc_auc_score(y, proba, multi_class="ovr", average="macro")
            assert roc_auc(y, proba, classes) == pytest.approx(expected)
            assert log_loss(y, proba, classes) == pytest.approx(reference.log_loss(y, proba))

    def test_binary_area_with_ties(self):
        rng = np.random.default_rng(6)
        y, p = rng.integers(2, size=60), rng.integers(5, size=60) / 4
        assert roc_auc(y, np.column_stack([1 - p, p]), np.array([0, 1])) == pytest.approx(reference.roc_auc_score(y, p))

    def test_log_loss_of_a_certain_mistake_is_finite_and_that_of_sklearn(self):
        y, proba = np.array([0, 1]), np.array([[1.0, 0.0], [1.0, 0.0]])
        assert log_loss(y, proba, np.array([0, 1])) == pytest.approx(reference.log_loss(y, proba))

    def test_single_precision_probabilities_are_accepted(self):
        y, _, proba = random_decoder(np.random.default_rng(7), n_classes=40, n_windows=200)
        single = proba.astype(np.float32)
        assert log_loss(y, single, np.arange(40)) == pytest.approx(log_loss(y, proba, np.arange(40)), rel=1e-5)


class TestAbsentClasses:
    """A test set that lacks a class gives a number, the one the documentation states."""

    y_true = np.array(["idle", "idle", "left", "left"])
    y_pred = np.array(["idle", "right", "left", "left"])

    def test_recall_and_balanced_accuracy(self):
        np.testing.assert_array_equal(recall_per_class(self.y_true, self.y_pred, CLASSES), [0.5, 1.0, 0.0])
        assert balanced_accuracy(self.y_true, self.y_pred, CLASSES) == 0.75

    def test_macro_f1_punishes_a_class_that_was_only_predicted(self):
        assert macro_f1(self.y_true, self.y_pred, CLASSES) == pytest.approx((2 / 3 + 1 + 0) / 3)
        assert macro_f1(self.y_true, self.y_true, CLASSES) == 1.0

    def test_area_averages_over_the_classes_present(self):
        proba = np.array([[0.8, 0.1, 0.1], [0.3, 0.4, 0.3], [0.2, 0.7, 0.1], [0.4, 0.5, 0.1]])
        assert roc_auc(self.y_true, proba, CLASSES) == pytest.approx((0.75 + 1.0) / 2)

    def test_one_class_only(self):
        y = np.array(["idle", "idle"])
        proba = np.array([[0.6, 0.2, 0.2], [0.5, 0.3, 0.2]])
        assert (mcc(y, y, CLASSES), nmcc(y, y, CLASSES), cohen_kappa(y, y, CLASSES)) == (0.0, 0.5, 0.0)
        assert roc_auc(y, proba, CLASSES) == 0.5
        assert accuracy(y, y, CLASSES) == balanced_accuracy(y, y, CLASSES) == 1.0

    @given(counts)
    def test_every_label_metric_is_a_number(self, cm):
        y_true, y_pred = labels_from(cm)
        for metric in LABELS:
            assert np.isfinite(score(metric, y_true, y_pred, None, np.arange(len(cm)), seconds=2.0)), metric.name

    @given(st.integers(0, 2**31), st.integers(1, 4))
    def test_every_probability_metric_is_a_number(self, seed, n_present):
        rng = np.random.default_rng(seed)
        proba = rng.dirichlet(np.full(5, 0.1), size=30)
        for metric in PROBABILITIES:
            assert np.isfinite(score(metric, rng.integers(n_present, size=30), None, proba, np.arange(5))), metric.name


class TestProperties:
    @given(counts, st.randoms(use_true_random=False))
    def test_renaming_and_reordering_the_classes_changes_no_label_metric(self, cm, random):
        n_classes = len(cm)
        order = np.array(random.sample(range(n_classes), n_classes))
        names = np.array([f"class {k}" for k in order])
        y_true, y_pred = labels_from(cm)
        for metric in LABELS:
            before = score(metric, y_true, y_pred, None, np.arange(n_classes), 2.0)
            after = score(metric, names[y_true], names[y_pred], None, np.sort(names), 2.0)
            assert after == pytest.approx(before, abs=1e-12), metric.name

    @given(st.integers(0, 2**31))
    def test_reordering_classes_or_windows_changes_no_probability_metric(self, seed):
        rng = np.random.default_rng(seed)
        y, _, proba = random_decoder(rng)
        proba = proba.round(1)
        proba[:, -1] = 1 - proba[:, :-1].sum(axis=1)
        proba = np.abs(proba) / np.abs(proba).sum(axis=1, keepdims=True)
        window = rng.permutation(len(y))
        for metric in PROBABILITIES:
            before = score(metric, y, None, proba, np.arange(4))
            after = score(metric, y[window], None, proba[window], np.arange(4))
            assert after == pytest.approx(before, abs=1e-12), metric.name
        column = rng.permutation(4)
        for metric in (METRICS["roc_auc"], METRICS["log_loss"]):
            after = score(metric, y, None, proba[:, column], column)
            assert after == pytest.approx(score(metric, y, None, proba, np.arange(4)), abs=1e-12), metric.name

    @given(counts)
    def test_bounds(self, cm):
        y_true, y_pred = labels_from(cm)
        classes = np.arange(len(cm))
        for name, low in [
            ("accuracy", 0),
            ("balanced_accuracy", 0),
            ("macro_f1", 0),
            ("nmcc", 0),
            ("kappa", -1),
            ("mcc", -1),
        ]:
            assert low <= score(name, y_true, y_pred, None, classes) <= 1, name
        for name in ("itr_wolpaw", "itr_mi"):
            assert 0 <= score(name, y_true, y_pred, None, classes, 60.0) <= np.log2(len(cm)) + 1e-12, name

    @given(counts)
    def test_transposing_truth_and_prediction_keeps_what_is_symmetric(self, cm):
        y_true, y_pred = labels_from(cm)
        classes = np.arange(len(cm))
        for metric in (mcc, cohen_kappa, accuracy, macro_f1):
            assert metric(y_true, y_pred, classes) == pytest.approx(metric(y_pred, y_true, classes), abs=1e-12)
        assert mutual_information(cm) == pytest.approx(mutual_information(cm.T), abs=1e-12)

    @given(counts, st.integers(2, 9))
    def test_more_of_the_same_windows_changes_nothing(self, cm, times):
        y_true, y_pred = labels_from(cm)
        for metric in LABELS:
            once = score(metric, y_true, y_pred, None, np.arange(len(cm)), 2.0)
            often = score(metric, np.tile(y_true, times), np.tile(y_pred, times), None, np.arange(len(cm)), 2.0)
            assert often == pytest.approx(once, abs=1e-12), metric.name

    @given(st.integers(2, 12), st.floats(0, 1), st.floats(0, 1))
    def test_wolpaw_grows_with_accuracy(self, n_classes, p, q):
        low, high = sorted((p, q))
        assert bits_wolpaw(low, n_classes) <= bits_wolpaw(high, n_classes) + 1e-12

    @given(counts)
    def test_a_right_answer_more_never_lowers_accuracy(self, cm):
        more = cm.copy()
        more[0, 0] += 1
        assert accuracy(*labels_from(more)) >= accuracy(*labels_from(cm))

    @given(st.integers(0, 2**31))
    def test_mutual_information_is_at_most_the_entropy_of_either_side(self, seed):
        cm = np.random.default_rng(seed).integers(0, 6, size=(4, 4)) + np.eye(4, dtype=int)
        for axis in (0, 1):
            p = cm.sum(axis=axis) / cm.sum()
            assert mutual_information(cm) <= -xlogy(p, p).sum() / np.log(2) + 1e-12


class TestChance:
    def test_registry_and_chance_level_agree(self):
        y = np.repeat(CLASSES, [6, 3, 1])
        for metric in METRICS.values():
            level = chance_level(metric, y, CLASSES, 2.0)
            if metric.chance is not None:
                assert level == pytest.approx(metric.chance), metric.name

    def test_levels_of_an_unbalanced_set(self):
        y = np.repeat(CLASSES, [6, 3, 1])
        assert chance_level("accuracy", y, CLASSES) == 0.6
        assert chance_level("balanced_accuracy", y, CLASSES) == pytest.approx(1 / 3)
        assert chance_level("log_loss", y, CLASSES) == pytest.approx(-xlogy([0.6, 0.3, 0.1], [0.6, 0.3, 0.1]).sum())
        assert chance_level("calibration_error", y, CLASSES) == pytest.approx(0.0)

    def test_direction(self):
        """A good decoder is better than chance in the direction that the registry states."""
        y, y_pred, proba = random_decoder(np.random.default_rng(8), n_windows=300, signal=3.0)
        for metric in METRICS.values():
            if metric.name == "calibration_error":
                continue
            gain = score(metric, y, y_pred, proba, np.arange(4), 2.0) - chance_level(metric, y, np.arange(4), 2.0)
            assert (gain > 0) == metric.greater_is_better, metric.name

    def test_names_are_keys(self):
        assert all(name == metric.name for name, metric in METRICS.items())

    def test_a_metric_of_ones_own(self):
        errors = Metric("errors", lambda y, p, classes: float(np.sum(y != p)), "label", False, None, "Errors")
        assert score(errors, np.array([0, 1]), np.array([1, 1]), None, np.array([0, 1])) == 1.0


class TestMessages:
    y = np.array(["left", "right"])

    def test_unknown_metric(self):
        with pytest.raises(UsageError, match="no metric 'acuracy'; choose one of accuracy, balanced_accuracy"):
            score("acuracy", self.y, self.y, None, CLASSES)

    def test_missing_predictions(self):
        with pytest.raises(
            UsageError, match="'roc_auc' needs predicted probabilities, got None; pass what `predict_proba`"
        ):
            score("roc_auc", self.y, self.y, None, CLASSES)
        with pytest.raises(UsageError, match="'nmcc' needs predicted labels, got None"):
            score("nmcc", self.y, None, np.ones((2, 3)) / 3, CLASSES)

    def test_missing_seconds(self):
        with pytest.raises(UsageError, match="bits/min and needs the time of a decision; pass seconds"):
            score("itr_mi", self.y, self.y, None, CLASSES)

    def test_unknown_label(self):
        with pytest.raises(DataError, match="y_pred holds the label 'foot', which is not one of the classes"):
            score("accuracy", self.y, np.array(["left", "foot"]), None, CLASSES)

    def test_names_against_numbers(self):
        with pytest.raises(DataError, match="y_true and classes must both be numbers or both be names"):
            score("accuracy", np.array([0, 1]), np.array([0, 1]), None, CLASSES)

    def test_repeated_class(self):
        with pytest.raises(DataError, match="name every class once"):
            confusion_matrix(self.y, self.y, np.array(["left", "left", "right"]))

    def test_lengths_differ(self):
        with pytest.raises(DataError, match=r"one a window, got shapes \(2,\) and \(3,\)"):
            unwrap(confusion_matrix)(self.y, np.array(["left"] * 3))

    def test_empty(self):
        with pytest.raises(DataError, match="no window to score"):
            accuracy(self.y[:0], self.y[:0])
        with pytest.raises(DataError, match="no window to score"):
            log_loss(self.y[:0], np.ones((0, 3)), CLASSES)

    def test_not_probabilities(self):
        with pytest.raises(DataError, match="sum to 1, one is off by 1; pass what `predict_proba`"):
            log_loss(self.y, np.array([[1.0, 1.0, 0.0], [0.5, 0.5, 0.0]]), CLASSES)
        with pytest.raises(DataError, match="non-negative"):
            calibration_error(self.y, np.array([[1.5, -0.5, 0.0], [0.5, 0.5, 0.0]]), CLASSES)

    def test_probabilities_of_another_shape(self):
        with pytest.raises(DataError, match=r"one column a class, \(2, 3\), got shape \(2, 2\)"):
            unwrap(roc_auc)(self.y, np.ones((2, 2)) / 2, CLASSES)

    def test_not_finite(self):
        with pytest.raises(DataError, match="must be finite"):
            roc_auc(self.y, np.array([[np.nan, 0.0, 1.0], [0.0, 1.0, 0.0]]), CLASSES)

    @pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
    def test_no_accuracy(self, p):
        with pytest.raises(UsageError, match="between 0 and 1"):
            itr_wolpaw(p, 2, 2.0)

    def test_no_choice_and_no_time(self):
        with pytest.raises(UsageError, match="two classes or more, got n_classes=1"):
            itr_wolpaw(0.5, 1, 2.0)
        with pytest.raises(UsageError, match="positive, finite time in seconds, got seconds=0"):
            itr_wolpaw(0.5, 2, 0.0)

    def test_rates_are_no_counts(self):
        with pytest.raises(DataError, match="pass counts, not rates"):
            mutual_information(np.zeros((2, 2), dtype=int))

    def test_no_bins(self):
        with pytest.raises(UsageError, match="one bin or more, got n_bins=0"):
            calibration_error(self.y, np.ones((2, 3)) / 3, CLASSES, n_bins=0)
