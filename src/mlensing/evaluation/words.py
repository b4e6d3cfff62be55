"""What the page says in plain words: names and meanings of the figures, and what they do not mean."""

from __future__ import annotations

MEANING: dict[str, tuple[str, str]] = {
    "roc_auc": ("ROC AUC", "Chance that a lens ranks above a non-lens. 0.5 is guessing, 1 is perfect."),
    "pr_auc": ("PR AUC", "Mean purity over all depths of the list. Guessing gives the share of lenses."),
    "tpr0": ("TPR0", "Share of lenses ranked above the very first false positive."),
    "tpr10": ("TPR10", "Share of lenses found with fewer than ten false positives."),
    "tpr_at_fpr_1e-2": ("Recall at FPR 1e-2", "Share of lenses found if one non-lens in 100 may pass."),
    "tpr_at_fpr_1e-3": ("Recall at FPR 1e-3", "Share of lenses found if one non-lens in 1,000 may pass."),
    "accuracy": ("Accuracy", "Share of images called rightly at probability 0.5."),
    "precision": ("Precision (purity)", "Share of true lenses among the images called lenses."),
    "recall": ("Recall (completeness)", "Share of the lenses that are called lenses."),
    "f1": ("F1", "Harmonic mean of precision and recall."),
    "ece": ("ECE", "How far probabilities are from observed shares, on average; 0 is best."),
    "ece_equal_mass": ("ECE, equal-mass bins", "The same, over bins that hold equal numbers of images."),
    "mce": ("MCE", "The same, in the worst bin of at least 20 images."),
    "brier": ("Brier score", "Mean squared distance of probability from truth; 0 is best, 0.25 is a shrug."),
}
"""Name and one line for the table, by name of `mlensing.evaluation.metrics.METRICS`."""

FIGURES = {
    "roc": "Share of lenses found against the share of non-lenses that pass. Only the left edge matters"
    " on the sky, where non-lenses are a thousand times more common, so that axis is "
    "logarithmic.",
    "purity": "How pure and how complete the list is when it is inspected from the top down to a rank, "
    "and the price of completeness in purity. Purity depends on how common lenses are.",
    "reliability": "When the network says 0.8, are 8 of 10 lenses? Points on the diagonal say yes. Bars"
    " hold the 95 % range that the number of images in the bin allows.",
    "reliability_log": "The same where lenses are rare, on logarithmic axes and in bins of equal numbers of "
    "images: a probability of 0.001 should be a lens in a thousand. Triangles are upper limits of bins "
    "without any lens.",
    "histogram": "Scores of both classes. The overlap is what the network cannot tell apart.",
    "ranking": "Scores of all images. Without labels no one can say which of them are lenses.",
}

MOSAICS = {
    "best": (
        "Best-ranked",
        "The first images that an inspector would see; a ✓ marks a lens, a ✗ a non-lens.",
    ),
    "false": (
        "Worst false positives",
        "Non-lenses with the highest scores. Look for what fooled the network.",
    ),
    "missed": ("Missed lenses", "Lenses with the lowest scores. Look for what the network does not know."),
    "candidates": ("Best candidates", "The highest scores, best first. A score is no proof: look at each."),
}

CAVEATS = (
    "The intervals are bootstrap intervals: they tell how far the figures move when images of the same "
    "kind are drawn again. They know nothing of images of another kind.",
    "Figures measured on simulated images hold for simulated images. Networks that reach a ROC AUC of "
    "0.99 on their own simulations have found half of the real lenses at a purity of a quarter (Euclid "
    "Collaboration, arXiv:2512.05899). Believe a figure on the sky only from images of the sky.",
    "Accuracy, precision and F1 depend on the share of lenses in the set, which is far above that of "
    "the sky. ROC AUC and recall at a false positive rate do not.",
    "TPR0 and TPR10 depend on how many non-lenses the set has: compare them only between sets of equal "
    "size. With fewer non-lenses than 100 or 1,000, recall at FPR 1e-2 or 1e-3 is no more than TPR0.",
)

RANKING_CAVEATS = (
    "These images have no labels, so nothing here says how good the ranking is: that is what an "
    "evaluation on labelled images from the same survey is for.",
    "A probability holds for a set with as many lenses as the network was calibrated for. On the sky "
    "lenses are about a thousand times rarer, so most candidates with a high score may still not be "
    "lenses.",
)
