"""The map head on every architecture: shape, units, spacing, gradients, and what it leaves alone."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from tests.models.test_conformance import SMALL, make_contract
from torch import Tensor, nn

from mlensing.contract import ModelContract
from mlensing.models import build
from mlensing.models.checkpoint import read_checkpoint, stamp
from mlensing.models.maps import MapHead, deflection, inconsistency, predict_maps
from mlensing.physics import interior_mask, pixel_grid


def make_maps(name: str = "resnet10", size: int = 64, bands: int = 3) -> tuple[nn.Module, ModelContract]:
    contract = make_contract(bands, size, name).model_copy(update={"task": "maps", "options": SMALL[name]})
    torch.manual_seed(0)
    return build(name, contract, **SMALL[name]), contract


@pytest.mark.parametrize(("size", "bands"), [(32, 1), (101, 3)])
def test_maps_have_the_pixels_of_the_image(name: str, size: int, bands: int) -> None:
    net = make_maps(name, size, bands)[0].eval()
    image = torch.randn(2, bands, size, size)
    with torch.no_grad():
        output, features = predict_maps(net, image, dx=0.2, dy=0.2)
        torch.testing.assert_close(output["logit"], net(image))
        torch.testing.assert_close(features, net.features(image))
    for key in ("kappa", "kappa_log_variance", "psi"):
        assert output[key].shape == (2, size, size) and output[key].dtype == torch.float32
        assert torch.isfinite(output[key]).all(), key
    assert (output["kappa"] > 0).all()


def test_the_grid_is_what_the_features_are_made_of(name: str) -> None:
    net = make_maps(name)[0].eval()
    features, grid = net.encode(torch.randn(2, 3, 64, 64))
    assert grid.ndim == 4 and grid.shape[1] == net.channels
    if name.startswith(("resnet", "light")):
        torch.testing.assert_close(grid.mean((2, 3)), features)


def test_the_head_changes_no_logit_and_no_name(name: str) -> None:
    net, image = make_maps(name)[0].eval(), torch.randn(2, 3, 64, 64)
    plain = build(name, make_contract(name=name), **SMALL[name]).eval()
    names = {key for key in net.state_dict() if not key.startswith("maps.")}
    assert names == set(plain.state_dict())
    plain.load_state_dict({key: net.state_dict()[key] for key in names})
    assert torch.equal(plain(image), net(image))


def test_gradients_of_maps_reach_head_and_backbone(name: str) -> None:
    net = make_maps(name)[0].train()
    output, _ = predict_maps(net, torch.randn(2, 3, 64, 64), dx=0.2, dy=0.3)
    sum(output[key].square().sum() for key in ("kappa", "kappa_log_variance", "psi")).backward()  # type: ignore[union-attr]
    silent = [key for key, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not [key for key in silent if key.startswith("maps.")]
    assert len(silent) < len(list(net.parameters())) / 4  # the classifier's own head, a class token


def test_a_checkpoint_carries_the_task_and_reads_the_head_again(tmp_path) -> None:
    net, contract = make_maps()
    content = {"state_dict": {f"net.{key}": value for key, value in net.state_dict().items()}}
    stamp(content, contract, {})
    torch.save(content, tmp_path / "maps.ckpt")
    again, image = read_checkpoint(tmp_path / "maps.ckpt").network(), torch.randn(1, 3, 64, 64)
    ours, theirs = (predict_maps(n, image, dx=0.2, dy=0.2)[0]["psi"] for n in (net.eval(), again))
    assert torch.equal(ours, theirs)


def test_psi_follows_the_spacing_and_kappa_does_not() -> None:
    net, image = make_maps()[0].eval(), torch.randn(1, 3, 64, 64)
    fine, coarse = (predict_maps(net, image, dx=d, dy=d)[0] for d in (0.1, 0.4))
    torch.testing.assert_close(fine["kappa"], coarse["kappa"])
    torch.testing.assert_close(16 * fine["psi"], coarse["psi"])
    alpha = [deflection(maps["psi"], dx=d, dy=d) for maps, d in ((fine, 0.1), (coarse, 0.4))]
    torch.testing.assert_close(4 * alpha[0], alpha[1], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(inconsistency(fine, 0.1, 0.1), inconsistency(coarse, 0.4, 0.4), rtol=1e-3, atol=1e-4)


def flattened(head: MapHead, radius: float) -> MapHead:
    """A head that predicts one Einstein radius [px] everywhere, whatever it is shown."""
    flat = copy.deepcopy(head)
    for parameter in flat.last.parameters():
        nn.init.zeros_(parameter)
    flat.last.bias.data[0] = math.log(math.expm1(radius)) - 6.0
    return flat


@pytest.mark.parametrize(("dx", "dy"), [(0.1, 0.1), (0.2, 0.2), (0.2, 0.3)])
def test_constant_planes_are_a_softened_isothermal_sphere_on_any_pixels(dx: float, dy: float) -> None:
    """kappa = theta_E / 2r and psi = theta_E r, with r in arcsec: Kormann+1994 for q = 1."""
    pixels, side = 12.0, math.sqrt(dx * dy)
    maps = flattened(MapHead(4, 3), pixels)(torch.randn(1, 4, 4, 4), torch.randn(1, 3, 64, 64), dx=dx, dy=dy)
    x, y = pixel_grid(64, 64, dx=dx, dy=dy)
    r = torch.sqrt(x**2 + y**2 + side**2)
    torch.testing.assert_close(maps["psi"][0], pixels * side * r, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(maps["kappa"][0], pixels * side / (2 * r), rtol=1e-4, atol=1e-4)
    alpha = deflection(maps["psi"], dx=dx, dy=dy)[0]
    keep = interior_mask(64, 64, dx=dx, dy=dy, core=8.0)
    length = torch.hypot(*alpha)[keep]
    torch.testing.assert_close(length, torch.full_like(length, pixels * side), rtol=0.02, atol=0.0)
    assert float(inconsistency(maps, dx, dy).detach()) < 0.01  # of (2 kappa)^2 around 1


def test_maps_of_one_image_do_not_depend_on_its_batch_mates() -> None:
    net, image = make_maps()[0].eval(), torch.randn(3, 3, 64, 64)
    spacing: Tensor = torch.tensor([0.1, 0.2, 0.3])
    together = predict_maps(net, image, dx=spacing, dy=spacing)[0]["psi"]
    alone = predict_maps(net, image[1:2], dx=spacing[1:2], dy=spacing[1:2])[0]["psi"]
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-4)
