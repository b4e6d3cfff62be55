"""What labels of a few lenses are worth: four ways to learn from them, on a 1:1000 survey of which the truth is known.

    python benchmarks/positive_unlabelled.py [--full]

The survey is simulated (LSST, wide and bright lenses, mostly common galaxies beside them), each non-lens standing for
so many that lenses are one in a thousand. Of its lenses 5, 20 and 50 % are labelled, at random or with a chance that
rises with theta_E and brightness. All methods learn a linear head on the same few features: the log-odds of a finder,
which is a released network with a head taught by another, labelled sky, and principal components of the network. So
what differs is the method and not the features:

- naive: unlabelled is non-lens. Its prevalence is the share of labelled rows.
- Elkan-Noto: the out-of-fold g of the same head, over c; so it ranks as the naive one does. A logistic g cannot level
  off at c, which adds to what it counts too much.
- nnPU: the non-negative risk, given the true prior, because it finds none: its prevalence is the mean of its
  probabilities, and tells only whether they keep to that prior.
- propensity: P(lens | x) and the chance of a label, fitted together, with magnitude and theta_E as attributes. Both are
  measured alike in all images: the magnitude in an aperture, theta_E by a ridge regression of the network's features,
  taught by the other sky. The labels follow the true theta_E.

AUC and TPR at a false positive rate of 1e-3 are of other lenses and non-lenses, prevalence over the truth is of the
survey; medians over draws of the labels, with the least and the greatest. The figure is the prevalence ratio of the
propensity model with biased labels, the mean of three medians.

The sky was chosen so that the finder's highest scores are lenses, which every method needs that finds the prevalence:
on the LSST part of the release's sky, where a released network passes 1 lens in 4 at a false positive rate of 1e-3, all
of them were wrong, by factors up to hundreds. The priors of the propensity model were chosen on a survey of other
seeds. The default only shows that it runs: each of its non-lenses counts as 100, and the ratio is all noise; ``--full``
takes three minutes of one core.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.optimize import brentq
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlensing.evaluation.calibration import remove_class_weight_shift, sigmoid
from mlensing.evaluation.metrics import roc_auc, tpr_at_fpr
from mlensing.evaluation.positive_unlabelled import labelling_share, lens_probability, out_of_fold
from mlensing.evaluation.propensity import fit_propensity, log_odds
from mlensing.inference.ensemble import RELEASED, Ensemble
from mlensing.inference.member import Member
from mlensing.simulate import Mixture, Simulator
from mlensing.simulate.simulator import BLOCK
from mlensing.training.positive_unlabelled import nnpu

Array = NDArray[np.float64]
PREVALENCE, SHARES, COMPONENTS = 1e-3, (0.05, 0.2, 0.5), 4
SKY = {"surveys": {"lsst": 1}, "theta_E": (1.2, 4.0), "wide_share": 0.6, "arc_signal": 150, "dither": 3}
OTHERS = {
    "spiral": 0.4, "elliptical": 0.2, "edge_on": 0.14, "nearby": 0.1, "field": 0.1, "companions": 0.05,
    "merger": 0.005, "ring": 0.005,
}  # fmt: skip
TEACHERS, SURVEY, JUDGES = 11, 12, 13
"""Seeds of the skies: of what teaches the finder and theta_E, of the survey, of what is judged by."""
SLOPES = {"theta_E": 1.5, "magnitude": -1.0}
"""Of the log-odds of being labelled, in standard deviations of ln theta_E and of the magnitude of the lenses."""


class Size(NamedTuple):
    """Lenses and non-lenses of the survey, of those that are judged by and those that teach; draws of the labels."""

    survey: tuple[int, int]
    judged: tuple[int, int]
    taught: tuple[int, int]
    draws: int


QUICK = Size((160, 1600), (64, 1000), (192, 768), 1)
FULL = Size((256, 16_000), (256, 8000), (960, 3840), 5)


class Images(NamedTuple):
    """Features [N, F], magnitude and true theta_E [N]."""

    features: Array
    magnitude: Array
    theta_E: Array


class Set(NamedTuple):
    """Log-odds of the finder and components [N, 5], attributes [N, 2], whether a lens, how many each stands for [N]."""

    x: Array
    attributes: Array
    lens: NDArray[np.bool_]
    weights: Array


class Said(NamedTuple):
    """Scores of what is judged [M], and the number of lenses in the survey."""

    scores: Array
    number: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the experiment itself: more images, five draws of labels")
    size = FULL if parser.parse_args().full else QUICK
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="c is")
    table = Table("labels", "method", "AUC", "TPR at FPR 1e-3", "prevalence over true", title="1 : 1000")
    ratios = compared(size, table)
    Console(width=100).print(table)
    print(f"PU_PREVALENCE_RATIO = {np.mean(ratios):.2f} (aim 1.0)")


def compared(size: Size, table: Table) -> list[float]:
    """Rows of the table; the propensity model's prevalence over the truth with biased labels."""
    survey, judges, e_of = skies(size)
    ratios = []
    for bias in (False, True):
        for share in SHARES:
            found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in METHODS}
            labelled = 0.0
            for draw in range(size.draws):
                rng = np.random.default_rng([draw, int(100 * share), bias])
                known = np.zeros(len(survey.lens), bool)
                known[survey.lens] = rng.random(survey.lens.sum()) < e_of(share, bias)
                labelled += known.sum() / size.draws
                for name, said in zip(METHODS, learned(survey, known, judges), strict=True):
                    figures = (roc_auc, lambda y, s: tpr_at_fpr(y, s, 1e-3))
                    measured = [figure(judges.lens, said.scores) for figure in figures]
                    found[name].append((*measured, said.number / survey.lens.sum()))
            kind = f"{100 * share:.0f} %, {'biased' if bias else 'random'} ({labelled:.0f})"
            for name, rows in found.items():
                auc, tpr, ratio = np.median(rows, 0)
                spread = f"{ratio:.2f} ({min(row[2] for row in rows):.2f} .. {max(row[2] for row in rows):.2f})"
                table.add_row(kind, name, f"{auc:.4f}", f"{tpr:.3f}", spread)
                ratios += [float(ratio)] if bias and name == "propensity" else []
                kind = ""
            table.add_section()
    return ratios


def skies(size: Size) -> tuple[Set, Set, Callable[[float, bool], Array]]:
    """Survey, what is judged by, and the chance of the survey's lenses of being labelled, for a share and a bias."""
    member = Ensemble.load(RELEASED, "cpu").members[0]
    counts = {TEACHERS: size.taught, SURVEY: size.survey, JUDGES: size.judged}
    taught, surveyed, judged = (
        [images(member, seed, n, kind) for kind, n in enumerate(both)] for seed, both in counts.items()
    )
    radius = make_pipeline(StandardScaler(), RidgeCV(np.geomspace(1, 1e4, 9)))
    radius.fit(taught[0].features, np.log(taught[0].theta_E))
    finder = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=500))
    finder.fit(np.concatenate([part.features for part in taught]), np.repeat([1, 0], size.taught))
    reduced = make_pipeline(StandardScaler(), PCA(COMPONENTS, whiten=True, random_state=0)).fit(surveyed[1].features)

    def joined(lenses: Images, others: Images) -> Set:
        features = np.concatenate([lenses.features, others.features])
        magnitude = np.append(lenses.magnitude, others.magnitude)
        lens = np.arange(len(features)) < len(lenses.features)
        each = (1 / PREVALENCE - 1) * lens.sum() / (~lens).sum()
        x = np.column_stack([finder.decision_function(features), reduced.transform(features)])
        return Set(x, np.stack([radius.predict(features), magnitude], 1), lens, np.where(lens, 1.0, each))

    standard = [(v - v.mean()) / v.std() for v in (np.log(surveyed[0].theta_E), surveyed[0].magnitude)]
    tilt = np.sum([slope * v for slope, v in zip(SLOPES.values(), standard, strict=True)], axis=0)

    def chance(share: float, bias: bool) -> Array:
        level = brentq(lambda level: sigmoid(bias * tilt + level).mean() - share, -20, 20)
        return sigmoid(bias * tilt + level)

    return joined(*surveyed), joined(*judged), chance


def images(member: Member, seed: int, count: int, kind: int) -> Images:
    """So many lenses (kind 0) or others (1) as a network sees them."""
    mixture = Mixture.model_validate({**SKY, "classes": OTHERS if kind else {"lens": 1.0}})
    simulator, parts = Simulator(mixture, seed=10 * seed + kind), []
    for number in track(range(-(-count // BLOCK)), console=Console(stderr=True), transient=True):
        block = simulator.block(number)
        image = block["image"]
        said = member.score(image, torch.zeros(len(image), dtype=torch.bool))
        flux = image[:, -1, 16:-16, 16:-16].sum((1, 2)).clamp(min=1e-3)
        parts.append((said.features.numpy(), (30 - 2.5 * flux.log10()).numpy(), block["theta_E"].numpy()))
    return Images(*(np.concatenate(part)[:count].astype(float) for part in zip(*parts, strict=True)))


def learned(survey: Set, known: NDArray[np.bool_], judges: Set) -> tuple[Said, ...]:
    """What the methods say, in the order of METHODS."""
    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    g = out_of_fold(survey.x, known, weights=survey.weights, estimator=head)
    counted = float(survey.weights @ lens_probability(g, labelling_share(g, known)))
    plain = head.fit(survey.x, known, logisticregression__sample_weight=survey.weights).decision_function(judges.x)
    both = [np.column_stack([part.x, part.attributes]) for part in (survey, judges)]
    fit = fit_propensity(both[0], survey.attributes, known, weights=survey.weights)
    return (
        Said(plain, float(known.sum())),
        Said(plain, counted),
        risk_head(survey, known, judges),
        Said(log_odds(fit.lens, both[1], len(plain)), fit.number),
    )


def risk_head(survey: Set, known: NDArray[np.bool_], judges: Set, *, steps: int = 600) -> Said:
    """A linear head taught by nnPU in batches of 128 labelled rows and 384 others, as common as in the survey."""
    torch.manual_seed(0)
    weights = torch.from_numpy(survey.weights)
    centre, spread = survey.x.mean(0), survey.x.std(0)
    x, judged = (torch.from_numpy((part.x - centre) / spread).float() for part in (survey, judges))
    hidden = survey.weights @ (survey.lens & ~known)
    prior = float(hidden / survey.weights[~known].sum())
    ratio = (1 - prior) / prior
    extra = {"prior": torch.tensor(prior), "positive_weight": torch.tensor(ratio)}
    label = torch.tensor([1.0] * 128 + [float("nan")] * 384)
    lens, others = torch.from_numpy(np.flatnonzero(known)), torch.from_numpy(np.flatnonzero(~known))
    net = torch.nn.Linear(x.shape[1], 1)
    optimiser = torch.optim.AdamW(net.parameters(), 0.02, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        drawn = others[torch.multinomial(weights[others], 384, replacement=True)]
        rows = torch.cat([lens[torch.randint(len(lens), (128,))], drawn])
        loss = nnpu({"logit": net(x[rows])[:, 0]}, {"label": label, **extra})
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        said = [net(part)[:, 0].double().numpy() for part in (x, judged)]
    p = sigmoid(remove_class_weight_shift(said[0], ratio))
    return Said(said[1], float(known.sum() + survey.weights[~known] @ p[~known]))


METHODS = ("naive", "Elkan-Noto", "nnPU", "propensity")


if __name__ == "__main__":
    main()
