"""Losses of maps: functions ``(output, batch) -> scalar``, like those of ``training.losses``.

``output`` is what a network of maps says (``heads.Maps``), ``batch`` the truth at the same nodes (``truth.node_maps``).
NaN in the truth means unlabelled and is left out, pixel by pixel; a loss without any pixel is 0. All means are over the
pixels of the whole batch that count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mlensing.errors import ConfigError
from mlensing.physics.operators import poisson_residual

Values = Mapping[str, Tensor]
BETA = 0.5
"""Power of the variance in the weights of ``beta_nll``: half way between likelihood (0) and mean square (1)."""


def beta_nll(mean: Tensor, log_variance: Tensor, truth: Tensor, beta: float = BETA) -> Tensor:
    """Gaussian negative log-likelihood, each term weighted with its own variance to the power +beta (Seitzer+2022).

    L = stop(var^beta) ((truth - mean)^2 / var + log var) / 2, arXiv:2203.09168, eq. 5. Without the weight, pixels of
    large variance hardly teach the mean; with beta = 1 its gradient is that of the mean square error.

    Arguments:
        mean, log_variance, truth: of one shape.

    Returns:
        loss of each element, the same shape.

    Example:
        >>> beta_nll(torch.zeros(1), torch.log(torch.tensor([4.0])), torch.tensor([2.0]), beta=0.0).item()
        1.1931471824645996
    """
    weight = (beta * log_variance).exp().detach()
    return 0.5 * weight * ((truth - mean).square() * torch.exp(-log_variance) + log_variance)


def kappa(output: Values, batch: Values) -> Tensor:
    """``beta_nll`` of the convergence: mean over its labelled pixels.

    Arguments:
        output: ``kappa``, ``kappa_log_variance`` [B, y, x].
        batch: ``kappa`` [B, y, x], NaN where unknown.

    Example:
        >>> zero = torch.zeros(1, 2, 2)
        >>> batch = {"kappa": torch.tensor([[[1.0, 1.0], [1.0, torch.nan]]])}
        >>> kappa({"kappa": zero, "kappa_log_variance": zero}, batch).item()
        0.5
    """
    truth = batch["kappa"]
    known = ~truth.isnan()
    return _mean(beta_nll(output["kappa"], output["kappa_log_variance"], truth.nan_to_num(0.0)), known)


def psi(output: Values, batch: Values) -> Tensor:
    """Mean square error of the potential [arcsec^4], each map less its own mean: a constant deflects no light.

    Arguments:
        output: ``psi`` [B, y, x].
        batch: ``psi`` [B, y, x]; maps with a NaN are left out.

    Example:
        >>> ramp = torch.tensor([[[1.0, 3.0]]])
        >>> psi({"psi": ramp}, {"psi": ramp + 5}).item(), psi({"psi": ramp}, {"psi": 0 * ramp}).item()
        (0.0, 1.0)
    """
    wrong = output["psi"] - batch["psi"]
    known = ~wrong.isnan().any(-1, keepdim=True).any(-2, keepdim=True)
    wrong = torch.where(known, wrong, 0.0)
    return _mean((wrong - wrong.mean((-2, -1), keepdim=True)).square(), known.expand_as(wrong))


def poisson(output: Values, batch: Values) -> Tensor:
    """Mean of (lap psi - 2 kappa)^2 over the trusted nodes: the two maps must belong to one lens. Needs no truth.

    Arguments:
        output: ``psi`` [arcsec^2], ``kappa`` [B, y, x].
        batch: ``dx``, ``dy`` of the nodes [B] [arcsec], ``trusted`` [B, y, x] bool: without border and cores.

    Example:
        >>> spot = {"psi": torch.zeros(1, 3, 3), "kappa": torch.ones(1, 3, 3)}
        >>> where = {"dx": torch.ones(1), "dy": torch.ones(1), "trusted": torch.ones(1, 3, 3, dtype=torch.bool)}
        >>> poisson(spot, where).item()
        4.0
    """
    residual = poisson_residual(output["psi"], output["kappa"], dx=batch["dx"], dy=batch["dy"])
    return _mean(residual.square(), batch["trusted"])


def consistency(output: Values, batch: Values) -> Tensor:
    """Square difference of kappa from a teacher's, over the teacher's variance: what unlabelled images can teach.

    No gradient reaches the teacher. If the two saw different views, its maps must have been turned back before.

    Arguments:
        output: ``kappa`` [B, y, x].
        batch: ``teacher_kappa``, ``teacher_kappa_log_variance`` [B, y, x]: what the teacher said, see
            :func:`with_teacher`.

    Raises:
        ConfigError: no teacher in the batch.

    Example:
        >>> said = {"kappa": torch.ones(1, 2, 2), "kappa_log_variance": torch.zeros(1, 2, 2)}
        >>> consistency({"kappa": torch.zeros(1, 2, 2)}, with_teacher({}, said)).item()
        0.5
    """
    if "teacher_kappa" not in batch:
        raise ConfigError("loss", "consistency needs a teacher", "Give one, or take the term out.")
    precision = 1 / (1 + batch["teacher_kappa_log_variance"].detach().exp())  # a confident teacher must not blow up
    wrong = output["kappa"] - batch["teacher_kappa"].detach()
    return (precision * wrong.square()).mean()


def with_teacher(batch: Values, output: Values) -> dict[str, Tensor]:
    """The batch with what a teacher says of its images, as ``teacher_kappa`` and so on.

    Example:
        >>> sorted(with_teacher({"dx": torch.ones(1)}, {"psi": torch.zeros(1, 2, 2)}))
        ['dx', 'teacher_psi']
    """
    return {**batch, **{f"teacher_{name}": value.detach() for name, value in output.items()}}


def _mean(values: Tensor, keep: Tensor) -> Tensor:
    return (values * keep).sum() / keep.sum().clamp(min=1)


MAP_LOSSES: dict[str, Callable[[Values, Values], Tensor]] = {
    "kappa": kappa,
    "psi": psi,
    "poisson": poisson,
    "consistency": consistency,
}
