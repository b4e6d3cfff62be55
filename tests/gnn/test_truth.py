"""True maps at the nodes, and the losses of training on them: exact lenses, rows without truth, a teacher."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mlensing.errors import ConfigError
from mlensing.gnn.truth import node_maps
from mlensing.physics import PIXEL_MEAN_CORE, pixel_grid, sie_convergence, sie_potential
from mlensing.training.losses import LOSSES, consistency, poisson, with_teacher


def lens(x0: float = 0.0, size: int = 64, dx: float = 0.1, dy: float = 0.15) -> dict[str, Tensor]:
    """Maps of one SIE at pixels."""
    x, y = pixel_grid(size, size, dx=dx, dy=dy, dtype=torch.float64)
    of = {"x0": x0, "y0": 0.0, "q": 0.7, "phi": 0.4, "theta_E": 1.2}
    core = PIXEL_MEAN_CORE * dx
    maps = {"kappa": sie_convergence(x, y, **of, core=core), "psi": sie_potential(x, y, **of)}
    spacing = {"dx": torch.tensor([dx], dtype=torch.float64), "dy": torch.tensor([dy], dtype=torch.float64)}
    return {**{key: value[None] for key, value in maps.items()}, **spacing}


@pytest.mark.parametrize("name", ["kappa", "psi"])
def test_unlabelled_rows_count_for_nothing(name: str) -> None:
    generator = torch.Generator().manual_seed(2)
    output = {key: torch.randn(3, 4, 5, generator=generator) for key in ("kappa", "kappa_log_variance", "psi")}
    output = {key: value.requires_grad_() for key, value in output.items()}
    truth = {key: torch.randn(3, 4, 5, generator=generator) for key in ("kappa", "psi")}
    truth[name][1] = torch.nan
    loss = LOSSES[name](output, truth)
    kept = [0, 2]
    alone = LOSSES[name]({k: v[kept] for k, v in output.items()}, {k: v[kept] for k, v in truth.items()})
    assert float(loss.detach()) == pytest.approx(float(alone.detach()))
    (gradient,) = torch.autograd.grad(loss, output[name])
    assert bool(gradient.isfinite().all()) and float(gradient[1].abs().max()) == 0 < float(gradient[2].abs().max())
    truth[name][:] = torch.nan
    assert float(LOSSES[name](output, truth).detach()) == 0


@pytest.mark.parametrize("x0", [0.0, 0.55])
def test_an_exact_lens_passes_poisson_wherever_it_lies(x0: float) -> None:
    truth = node_maps(lens(x0), patch=2)
    trusted = truth["trusted"]
    assert 0.8 < float(trusted[:, 1:-1, 1:-1].double().mean()) < 1.0 and not trusted[:, 0].any()
    x, _ = pixel_grid(32, 32, dx=0.2, dy=0.3, dtype=torch.float64)
    core = (~trusted[0])[1:-1, 1:-1]
    assert float(x[1:-1, 1:-1][core].mean()) == pytest.approx(x0, abs=0.12)
    assert float(poisson(truth, truth)) < 2e-4
    sheet = {**truth, "kappa": truth["kappa"] + 0.1}
    assert float(poisson(sheet, truth)) == pytest.approx(0.04, rel=0.1)


def test_poisson_follows_both_spacings() -> None:
    """psi of dx and dy swapped belongs to another kappa."""
    truth = node_maps(lens(), patch=2)
    swapped = {**truth, "dx": truth["dy"], "dy": truth["dx"]}
    assert float(poisson(truth, swapped)) > 20 * float(poisson(truth, truth))


def test_pooled_truth_conserves_mass_and_derives_alpha_again() -> None:
    maps = lens()
    truth = node_maps(maps, patch=4)
    assert float(truth["kappa"].sum() * truth["dx"] * truth["dy"]) == pytest.approx(
        float(maps["kappa"].sum() * maps["dx"] * maps["dy"])
    )
    by_hand = (truth["psi"][0, 5, 9] - truth["psi"][0, 5, 7]) / (2 * 0.4)
    assert float(truth["alpha"][0, 0, 5, 8]) == pytest.approx(float(by_hand))


def test_rows_without_truth_are_trusted_round_their_middle() -> None:
    maps = lens()
    maps["kappa"] = maps["kappa"] * torch.nan
    trusted = node_maps(maps, patch=2)["trusted"][0]
    assert trusted[1:-1, 1:-1].sum() == 30 * 30 - 12 and not trusted[15:17, 15:17].any()


def test_a_teacher_is_agreed_with_and_not_taught() -> None:
    teacher = {key: torch.randn(2, 4, 4).requires_grad_() for key in ("kappa", "kappa_log_variance", "psi")}
    batch = with_teacher({"kappa": torch.full((2, 4, 4), torch.nan)}, teacher)
    assert float(consistency(teacher, batch).detach()) == 0
    student = (teacher["kappa"].detach() + 1).requires_grad_()
    consistency({"kappa": student}, batch).backward()
    assert teacher["kappa"].grad is None and float(student.grad.abs().max()) > 0  # type: ignore[union-attr]
    sure = with_teacher({}, {**teacher, "kappa_log_variance": torch.full((2, 4, 4), -5.0)})
    unsure = with_teacher({}, {**teacher, "kappa_log_variance": torch.full((2, 4, 4), 3.0)})
    assert consistency({"kappa": student}, sure).item() > 10 * consistency({"kappa": student}, unsure).item()
    with pytest.raises(ConfigError, match="teacher"):
        consistency({"kappa": student}, {})


def test_all_losses_take_what_networks_and_truth_give() -> None:
    truth = {key: value.float() if value.is_floating_point() else value for key, value in node_maps(lens(), 2).items()}
    output = {**truth, "kappa_log_variance": torch.zeros_like(truth["kappa"])}
    batch = with_teacher(truth, output)
    values = {name: float(loss(output, batch)) for name, loss in LOSSES.items() if name not in ("bce", "nnpu")}
    assert values["kappa"] == values["consistency"] == 0 and values["psi"] < 1e-9 and values["alpha"] < 1e-9
    assert 0 <= values["poisson"] < 1e-3
