"""Networks of maps: what both promise, and what LensGNN's attention must hold."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mlensing.contract import BandStatistics, ModelContract
from mlensing.errors import ConfigError
from mlensing.gnn import MAP_MODELS, build_maps
from mlensing.gnn.graph import patch_graph
from mlensing.gnn.heads import places
from mlensing.gnn.lens_gnn import EdgeAttention, softmax_per_target
from mlensing.physics import gradient

SMALL = {"lens_gnn": {"width": 20, "depth": 2}, "unet": {"width": 6}}
SIZES = {"lens_gnn": 119_003, "unet": 119_475}


def contract(name: str, bands: int = 3, size: int = 32) -> ModelContract:
    statistics = {"linear": BandStatistics(mean=(0.0,) * bands, std=(1.0,) * bands)}
    names = tuple("ugrizy"[:bands])
    return ModelContract(
        name=name, bands=names, input_size=size, pixel_scale=(0.1, 0.5), statistics=statistics, task="mass_maps"
    )


def network(name: str, bands: int = 3, **options: int) -> nn.Module:
    torch.manual_seed(3)
    return build_maps(name, contract(name, bands), **{**SMALL[name], **options}).eval()


def images(count: int, bands: int = 3, height: int = 32, width: int = 32) -> Tensor:
    return torch.randn(count, bands, height, width, generator=torch.Generator().manual_seed(5))


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("name", MAP_MODELS)
@pytest.mark.parametrize(("bands", "patch"), [(1, 2), (5, 4)])
def test_maps_have_the_spacing_of_patches(name: str, bands: int, patch: int) -> None:
    maps = network(name, bands, patch=patch)(images(2, bands, 32, 24), dx=0.2, dy=0.3)
    shape = (2, 32 // patch, 24 // patch)
    assert maps["kappa"].shape == maps["psi"].shape == maps["kappa_log_variance"].shape == shape
    assert maps["alpha"].shape == (2, 2, *shape[1:])
    assert bool((maps["kappa"] >= 0).all())


@pytest.mark.parametrize("name", MAP_MODELS)
def test_alpha_is_the_gradient_of_psi_at_the_spacing_of_the_nodes(name: str) -> None:
    dx, dy = torch.tensor([0.2, 0.3]), torch.tensor([0.1, 0.5])
    maps = network(name)(images(2), dx=dx, dy=dy)
    assert torch.equal(maps["alpha"], torch.stack(gradient(maps["psi"], dx=2 * dx, dy=2 * dy), 1))
    by_hand = (maps["psi"][1, 4, 6] - maps["psi"][1, 4, 4]) / (4 * 0.3)
    assert float(maps["alpha"][1, 0, 4, 5]) == pytest.approx(float(by_hand), rel=1e-4)


@pytest.mark.parametrize("name", MAP_MODELS)
@torch.no_grad()
def test_an_image_has_the_same_maps_in_any_batch(name: str) -> None:
    net, batch = network(name), images(4)
    dx = torch.tensor([0.1, 0.2, 0.3, 0.4])
    together = net(batch, dx=dx, dy=dx)
    louder = torch.cat([1e3 * batch[:2], batch[2:]])  # what a softmax over the batch would notice
    other = net(louder, dx=dx, dy=dx)
    alone = net(batch[3:], dx=0.4, dy=0.4)
    for key, maps in together.items():
        assert torch.allclose(maps[3:], alone[key], atol=1e-5), key
        assert torch.allclose(maps[2:], other[key][2:], atol=1e-5), key


@pytest.mark.parametrize("name", MAP_MODELS)
@torch.no_grad()
def test_the_spacing_of_either_axis_matters(name: str) -> None:
    net, image = network(name), images(1)
    square, flat, tall = (net(image, dx=dx, dy=dy)["kappa"] for dx, dy in ((0.2, 0.2), (0.4, 0.2), (0.2, 0.4)))
    assert not torch.allclose(square, flat, atol=1e-4) and not torch.allclose(flat, tall, atol=1e-4)


@pytest.mark.parametrize("name", MAP_MODELS)
def test_every_weight_learns(name: str) -> None:
    net = network(name).train()
    maps = net(images(2), dx=0.2, dy=0.2)
    sum(m.square().mean() for m in maps.values()).backward()  # type: ignore[union-attr]
    still = [key for key, p in net.named_parameters() if p.grad is None or not bool(p.grad.abs().max() > 0)]
    # what is added to all scores of one softmax changes nothing: keys' and scores' biases
    assert [key for key in still if not key.endswith(("score.bias", "geometry.2.bias"))] == []


def test_both_are_of_one_size() -> None:
    sizes = {name: parameters(build_maps(name, contract(name))) for name in MAP_MODELS}
    assert sizes == SIZES and max(SIZES.values()) / min(SIZES.values()) < 1.01


def test_softmax_is_that_of_each_target() -> None:
    score = torch.tensor([[1.0, 500.0], [2.0, -500.0], [3.0, 0.0], [1e4, 1.0]])
    weight = softmax_per_target(score, torch.tensor([2, 2, 0, 2]), 4)
    mine = [0, 1, 3]
    assert torch.allclose(weight[mine], score[mine].softmax(0)) and torch.equal(weight[2], torch.ones(2))


def test_attention_is_that_of_a_dense_matrix() -> None:
    """The same as softmax attention over all nodes with everything but neighbours masked out."""
    torch.manual_seed(1)
    graph = patch_graph(images(1, 1, 8, 12), dx=0.2, dy=0.3)
    layer, nodes = EdgeAttention(8, 2), torch.randn(graph.nodes, 8)
    bias = torch.full((2, graph.nodes, graph.nodes), -torch.inf)
    bias[:, graph.target, graph.source] = layer.geometry(graph.attributes).T
    query, key = layer.query_key(nodes).reshape(graph.nodes, 2, 2, -1).permute(1, 2, 0, 3)
    value = layer.value(nodes).reshape(graph.nodes, 2, 4).transpose(0, 1)
    dense = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    assert torch.allclose(layer(nodes, graph), layer.out(dense.transpose(0, 1).flatten(1)), atol=1e-6)


def test_attention_is_that_of_torch_geometric() -> None:
    pytest.importorskip("torch_geometric", reason="the extra gnn is not installed")
    from torch_geometric.utils import softmax

    graph = patch_graph(images(2, 1, 8, 8), dx=0.2, dy=0.3)
    score = torch.randn(len(graph.target), 3, generator=torch.Generator().manual_seed(1))
    theirs = softmax(score, graph.target, num_nodes=graph.nodes)
    assert torch.allclose(softmax_per_target(score, graph.target, graph.nodes), theirs, atol=1e-6)


def test_what_is_far_is_heard_through_the_hub_alone() -> None:
    """One block without its hub reaches two patches; with it, the whole image."""
    net, image = network("lens_gnn", depth=1), images(1)
    changed = image.clone()
    changed[..., :2, :2] += 3.0
    for silent in (False, True):
        if silent:
            nn.init.zeros_(net.blocks[0].hub.out.weight)  # type: ignore[index, union-attr, arg-type]
        with torch.no_grad():
            maps = [net(i, dx=0.2, dy=0.2)["psi"] for i in (image, changed)]
        moved = (maps[0] - maps[1]).abs()[0] > 1e-7
        assert bool(moved[:3, :3].all()) and bool(moved[8:, 8:].any()) is not silent


def test_places_know_the_border_and_the_middle() -> None:
    x, y, radius, near = places(5, 7, dx=0.2, dy=torch.tensor([0.2, 0.5]), like=torch.zeros(2))[1]
    assert near[0].eq(1).all() and near[:, -1].eq(1).all() and float(near[2, 3]) == pytest.approx(1 / 3)
    assert float(radius[2, 3]) == 0 and float(x[0, -1]) == pytest.approx(0.6) and float(y[-1, 0]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("gnn", {}, "lens_gnn, unet"),
        ("lens_gnn", {"layers": 3}, "layers"),
        ("lens_gnn", {"width": 12}, "heads divide the width"),
        ("lens_gnn", {"patch": 5}, "divides 32"),
        ("lens_gnn", {"depth": 0}, "depth=0"),
        ("unet", {"patch": 0}, "patch=0"),
        ("unet", {"levels": 9}, "levels=9"),
    ],
)
def test_what_cannot_be_built_is_refused(name: str, options: dict[str, int], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_maps(name, contract(name), **options)
