"""The graph of patches against a double loop, and against what geometry demands."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mlensing.errors import ConfigError
from mlensing.gnn.graph import ATTRIBUTES, PatchGraph, neighbours, patch_graph, to_data


def looped(rows: int, columns: int, hops: int) -> set[tuple[int, int]]:
    """Edges (source, target), node by node."""
    found = set()
    for row in range(rows):
        for column in range(columns):
            for other_row in range(max(row - hops, 0), min(row + hops + 1, rows)):
                for other in range(max(column - hops, 0), min(column + hops + 1, columns)):
                    if (other_row, other) != (row, column):
                        found.add((other_row * columns + other, row * columns + column))
    return found


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def numbered(graph: PatchGraph) -> dict[tuple[int, int], int]:
    """(source, target) -> row of that edge."""
    return {pair: row for row, pair in enumerate(zip(graph.source.tolist(), graph.target.tolist(), strict=True))}


@pytest.mark.parametrize(("rows", "columns"), [(5, 7), (2, 9), (6, 6)])
@pytest.mark.parametrize("hops", [1, 2, 3])
def test_edges_are_those_of_a_double_loop(rows: int, columns: int, hops: int) -> None:
    source, target = neighbours(rows, columns, hops=hops)
    edges = list(zip(source.tolist(), target.tolist(), strict=True))
    assert len(edges) == len(set(edges)) and set(edges) == looped(rows, columns, hops)
    assert all(target[1:] >= target[:-1])
    assert {(t, s) for s, t in edges} == set(edges), "an edge without its reverse"


def test_two_hops_are_what_one_hop_reaches_twice() -> None:
    source, target = neighbours(6, 5, hops=1)
    once = torch.zeros(30, 30, dtype=torch.int64)
    once[source, target] = 1
    reached = ((once + once @ once) > 0).fill_diagonal_(False)
    wide = torch.zeros(30, 30, dtype=torch.bool)
    wide[neighbours(6, 5, hops=2)] = True
    assert torch.equal(wide, reached)


def test_borders_end_and_do_not_wrap() -> None:
    _, target = neighbours(8, 9, hops=2)
    degree = target.bincount().reshape(8, 9)
    assert degree[0, 0] == degree[-1, -1] == 8 and degree[0, 4] == 14 and degree[4, 4] == 24


def test_attributes_by_hand_on_anisotropic_pixels() -> None:
    """Brightness rises along x only, 3 per arcsec: the gradient points to +x."""
    dx, dy, patch = 0.2, 0.5, 2
    light = (3 * dx * torch.arange(12, dtype=torch.float64)).expand(1, 1, 10, 12)
    graph = patch_graph(light, dx=dx, dy=dy, patch=patch)
    assert graph.attributes.shape[1] == len(ATTRIBUTES)
    edges = numbered(graph)
    for row, column, down, across in [(2, 3, 1, 0), (2, 3, 0, -2), (2, 3, -2, 1), (1, 2, 1, 1)]:
        node, other = row * graph.columns + column, (row + down) * graph.columns + column + across
        x, y, distance, alignment, contrast = graph.attributes[edges[other, node]].tolist()
        assert (x, y) == pytest.approx((across * patch * dx, down * patch * dy))
        assert distance == pytest.approx(math.hypot(x, y))
        assert alignment == pytest.approx(x / distance)
        assert contrast == pytest.approx(3 * x)


def test_the_reverse_of_an_edge_has_the_opposite_offset_and_contrast() -> None:
    graph = patch_graph(noise(2, 3, 8, 12), dx=0.3, dy=0.2)
    edges = numbered(graph)
    back = graph.attributes[[edges[t, s] for s, t in edges]]
    assert torch.equal(back[:, [0, 1, 4]], -graph.attributes[:, [0, 1, 4]])
    assert torch.equal(back[:, 2], graph.attributes[:, 2])


def test_a_mirrored_sky_has_mirrored_edges() -> None:
    """Alignment and contrast belong to the sky, not to the order of rows; x turns its sign."""
    image = noise(1, 2, 8, 8)
    here, there = (patch_graph(i, dx=0.2, dy=0.4) for i in (image, image.flip(-1)))
    mirror = torch.arange(16).reshape(4, 4).flip(-1).flatten().tolist()
    edges = numbered(there)
    rows = [edges[mirror[s], mirror[t]] for s, t in numbered(here)]
    assert torch.allclose(there.attributes[rows], here.attributes * torch.tensor([-1.0, 1, 1, 1, 1]))


def test_swapping_the_axes_of_image_and_spacing_swaps_x_and_y() -> None:
    image = noise(1, 1, 6, 10)
    flat, turned = patch_graph(image, dx=0.2, dy=0.5), patch_graph(image.transpose(2, 3), dx=0.5, dy=0.2)
    number = torch.arange(15).reshape(5, 3).T.flatten().tolist()  # of each node of the first in the second
    edges = numbered(turned)
    rows = [edges[number[s], number[t]] for s, t in numbered(flat)]
    assert torch.allclose(turned.attributes[rows], flat.attributes[:, [1, 0, 2, 3, 4]])


def test_images_of_a_batch_are_apart_and_have_spacings_of_their_own() -> None:
    image = noise(3, 2, 8, 8)
    dx, dy = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.3, 0.2, 0.5])
    whole = patch_graph(image, dx=dx, dy=dy)
    size = whole.rows * whole.columns
    assert torch.equal(whole.source // size, whole.target // size) and whole.nodes == 48
    for number in range(3):
        alone = patch_graph(image[number : number + 1], dx=float(dx[number]), dy=float(dy[number]))
        mine = whole.target // size == number
        assert torch.equal(whole.source[mine] - number * size, alone.source)
        assert torch.allclose(whole.attributes[mine], alone.attributes, atol=1e-6)
        assert torch.allclose(whole.positions()[number * size :][:size], alone.positions(), atol=1e-6)


def test_a_flat_image_has_neither_alignment_nor_contrast() -> None:
    attributes = patch_graph(torch.full((1, 1, 8, 8), 7.0), dx=0.2, dy=0.2).attributes
    assert torch.isfinite(attributes).all() and (attributes[:, 3:] == 0).all()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"dx": 0.0}, "dx"),
        ({"dy": float("nan")}, "dy"),
        ({"patch": 3}, "does not divide"),
        ({"hops": 0}, "hops"),
        ({"patch": 8}, "too small"),
        ({"image": torch.zeros(8, 8)}, "bands"),
    ],
)
def test_what_makes_no_graph_is_refused(wrong: dict[str, object], said: str) -> None:
    given = {"image": torch.zeros(1, 1, 8, 8), "dx": 0.2, "dy": 0.2, **wrong}
    with pytest.raises(ConfigError, match=said):
        patch_graph(**given)  # type: ignore[arg-type]


def test_spacing_is_demanded() -> None:
    with pytest.raises(TypeError, match="dy"):
        patch_graph(torch.zeros(1, 1, 8, 8), dx=0.2)  # type: ignore[call-arg]


def test_it_becomes_torch_geometrics_data() -> None:
    pytest.importorskip("torch_geometric", reason="the extra gnn is not installed")
    from torch_geometric.nn import SimpleConv
    from torch_geometric.utils import is_undirected

    graph = patch_graph(noise(2, 1, 8, 12), dx=0.2, dy=0.4)
    data = to_data(graph, graph.positions())
    assert data.validate(raise_on_error=True) and is_undirected(data.edge_index)
    assert data.num_nodes == graph.nodes and data.batch.bincount().tolist() == [24, 24]
    offset = data.pos[data.edge_index[0]] - data.pos[data.edge_index[1]]
    assert torch.allclose(offset, data.edge_attr[:, :2], atol=1e-9)
    summed = SimpleConv(aggr="sum")(data.x, data.edge_index)  # a layer of theirs agrees on who sends to whom
    assert torch.allclose(summed, torch.zeros_like(data.x).index_add(0, graph.target, data.x[graph.source]))


def test_features_of_other_nodes_are_refused() -> None:
    graph = patch_graph(torch.zeros(1, 1, 8, 8), dx=0.2, dy=0.2)
    with pytest.raises(ConfigError, match="16 nodes, the features 3 rows"):
        to_data(graph, torch.zeros(3, 1))
