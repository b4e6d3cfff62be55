"""Terms of maps: zero for the truth, blind to what images cannot tell, deaf to what is masked."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from mlensing.errors import ConfigError
from mlensing.physics import pixel_grid, sie_convergence, sie_deflection, sie_potential
from mlensing.training.losses import LOSSES, MAP_TERMS, task_of, total_loss, usable

SIDE = 48


def truth(dx: float = 0.1, dy: float = 0.1) -> dict[str, Tensor]:
    """A lens, a lens with other parameters, a non-lens and a lens without maps."""
    x, y = pixel_grid(SIDE, SIDE, dx=dx, dy=dy, dtype=torch.float64)
    lenses: list[dict[str, Any]] = [
        {"x0": 0.0, "y0": 0.0, "q": 0.7, "phi": 0.4, "theta_E": 1.4},
        {"x0": 0.0, "y0": 0.0, "q": 0.9, "phi": 1.4, "theta_E": 0.9},
    ]
    maps = {
        "kappa": [sie_convergence(x, y, **p) for p in lenses],
        "psi": [sie_potential(x, y, **p) for p in lenses],
        "alpha": [torch.stack(sie_deflection(x, y, **p)) for p in lenses],
    }
    filled = {k: torch.stack([*v, torch.zeros_like(v[0]), torch.full_like(v[0], torch.nan)]) for k, v in maps.items()}
    spacing = {"dx": torch.full((4,), dx, dtype=torch.float64), "dy": torch.full((4,), dy, dtype=torch.float64)}
    return {**filled, **spacing, "label": torch.tensor([1.0, 1.0, 0.0, 1.0])}


def said(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """An output that says the truth where there is one."""
    kappa, psi = (batch[name].nan_to_num(0.3).clone().requires_grad_() for name in ("kappa", "psi"))
    spread = torch.full_like(kappa, -4.0, requires_grad=True)
    return {"logit": torch.zeros(4), "kappa": kappa, "psi": psi, "kappa_log_variance": spread}


@pytest.mark.parametrize(("dx", "dy"), [(0.1, 0.1), (0.1, 0.15)])
def test_the_true_maps_satisfy_poisson_to_the_accuracy_of_the_stencil(dx: float, dy: float) -> None:
    batch = truth(dx, dy)
    assert usable(batch, core=8.0).any()
    assert 0 < LOSSES["poisson"](said(batch), batch).item() < 5e-3  # the stencil's own error near the core
    assert LOSSES["psi"](said(batch), batch).item() < 1e-12
    assert LOSSES["alpha"](said(batch), batch).item() < 1e-2


def test_radians_give_the_same_residual_as_arcsec() -> None:
    batch, radian = truth(), math.pi / 180 / 3600
    output = said(batch)
    inside = {**output, "psi": output["psi"] * radian**2}
    moved = {**batch, "dx": batch["dx"] * radian, "dy": batch["dy"] * radian}
    torch.testing.assert_close(LOSSES["poisson"](inside, moved), LOSSES["poisson"](output, batch), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["psi", "alpha"])
def test_what_images_cannot_tell_costs_nothing_and_what_they_can_costs(name: str) -> None:
    batch, output = truth(), said(truth())
    x, y = pixel_grid(SIDE, SIDE, dx=0.1, dy=0.1, dtype=torch.float64)
    exact = LOSSES[name](output, batch)
    shifted = LOSSES[name]({**output, "psi": output["psi"] + 5 - 2 * x + 3 * y}, batch)
    torch.testing.assert_close(shifted, exact, rtol=1e-6, atol=1e-9)
    sheet = LOSSES[name]({**output, "psi": output["psi"] + 0.1 * (x**2 + y**2)}, batch)
    assert sheet.item() > exact.item() + 1e-3


def test_the_mean_of_kappa_is_no_gauge() -> None:
    batch, output = truth(), said(truth())
    more = {**output, "kappa": output["kappa"] + 0.2}
    assert LOSSES["kappa"](more, batch).item() > LOSSES["kappa"](output, batch).item() + 0.01
    assert LOSSES["poisson"](more, batch).item() == pytest.approx(0.16, abs=2e-2)


@pytest.mark.parametrize("name", MAP_TERMS)
def test_other_rows_and_masked_pixels_say_and_learn_nothing(name: str) -> None:
    batch, output = truth(), said(truth())
    batch["mask"] = torch.zeros_like(batch["kappa"], dtype=torch.bool)
    batch["mask"][:, 20:, :] = True
    batch["kappa"][:, 30, 30] = torch.nan
    value = LOSSES[name](output, batch)
    value.backward()
    for key in ("kappa", "psi", "kappa_log_variance"):
        gradient = output[key].grad
        assert gradient is None or (torch.isfinite(gradient).all() and (gradient[2:] == 0).all())
        assert gradient is None or (gradient[:, 23:] == 0).all()  # stencils reach one pixel, or two, beyond
    spoilt = {key: torch.cat([v[:2], v[2:] * 7 + 3]).detach() for key, v in output.items()}
    torch.testing.assert_close(LOSSES[name](spoilt, batch), value.detach())


@pytest.mark.parametrize("name", MAP_TERMS)
def test_a_batch_without_lenses_or_maps_costs_nothing(name: str) -> None:
    batch = {key: value[2:] for key, value in truth().items()}
    output = {key: value[2:] for key, value in said(truth()).items()}
    assert LOSSES[name](output, batch).item() == 0


def test_beta_weights_the_gaussian_likelihood_by_its_deviation() -> None:
    kappa, mu, variance = 1.3, 0.9, 0.25
    batch = {"label": torch.ones(1), "kappa": torch.full((1, 5, 5), kappa)}
    output = {"kappa": torch.full((1, 5, 5), mu), "kappa_log_variance": torch.full((1, 5, 5), math.log(variance))}
    nll = -torch.distributions.Normal(mu, variance**0.5).log_prob(torch.tensor(kappa)) - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(LOSSES["kappa"](output, batch), variance**0.5 * nll)


def test_the_best_variance_is_the_mean_squared_error() -> None:
    generator = torch.Generator().manual_seed(0)
    batch = {"label": torch.ones(1), "kappa": 1 + 0.3 * torch.randn(1, 64, 64, generator=generator)}
    spread = torch.zeros(1, 64, 64)
    shared = torch.zeros((), requires_grad=True)
    optimiser = torch.optim.Adam([shared], lr=0.1)
    for _ in range(200):
        optimiser.zero_grad()
        LOSSES["kappa"]({"kappa": torch.ones(1, 64, 64), "kappa_log_variance": spread + shared}, batch).backward()
        optimiser.step()
    assert float(shared.detach().exp()) == pytest.approx(0.09, rel=0.06)


def test_the_total_is_classification_plus_lambda_physics() -> None:
    batch, output = truth(), said(truth())
    terms = {"bce": 1.0, "poisson": 0.1, "kappa": 2.0}
    expected = sum(weight * LOSSES[name](output, batch) for name, weight in terms.items())
    torch.testing.assert_close(total_loss(terms)(output, batch), expected)
    assert task_of(terms) == "maps" and task_of({"bce": 1.0}) == "classification"


def test_poisson_alone_is_warned_of_and_unknown_terms_are_errors() -> None:
    with pytest.warns(UserWarning, match="maps that are zero satisfy poisson"):
        total_loss({"bce": 1.0, "poisson": 0.1})
    with pytest.raises(ConfigError, match="poison"):
        total_loss({"bce": 1.0, "poison": 0.1})
