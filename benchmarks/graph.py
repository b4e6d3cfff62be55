"""Time of a Python double loop over that of our graph builder, for the same graph; torch-geometric in the same run.

All make the patches of 64 x 64 pixels (1,024 nodes of 2 x 2 pixels, 24 neighbours) with dx, dy, distance, alignment and
contrast, from the same brightness gradients. torch-geometric's ``KNNGraph`` and ``RadiusGraph`` need the compiled
``pyg-lib``, which its package index does not hold; so its ``grid`` and its transforms ``TwoHop``, ``Cartesian`` and
``Distance`` build the graph. Processor time; ours is per image of a batch, as training makes it, and of one alone.
One layer of attention, forward and back, follows: ours, and ``TransformerConv`` on the same graph.

    python benchmarks/graph.py [--full]
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from mlensing.gnn.graph import PatchGraph, patch_graph, to_data
from mlensing.gnn.lens_gnn import EdgeAttention
from mlensing.physics import area_pool, gradient

SIZE, PATCH, HOPS, DX, DY = 64, 2, 2, 0.2, 0.3
WIDTH, HEADS = 48, 4


def looped(image: Tensor) -> tuple[list[tuple[int, int]], list[list[float]]]:
    """Edges and attributes of one image, node by node and neighbour by neighbour."""
    light = area_pool(image, PATCH).mean(0)
    along_x, along_y = (slope.tolist() for slope in gradient(light, dx=PATCH * DX, dy=PATCH * DY))
    brightness, side = light.tolist(), SIZE // PATCH
    edges, attributes = [], []
    for row in range(side):
        for column in range(side):
            slope_x, slope_y = along_x[row][column], along_y[row][column]
            steepness = math.hypot(slope_x, slope_y) or 1.0
            for other_row in range(max(row - HOPS, 0), min(row + HOPS + 1, side)):
                for other in range(max(column - HOPS, 0), min(column + HOPS + 1, side)):
                    if (other_row, other) == (row, column):
                        continue
                    x, y = (other - column) * PATCH * DX, (other_row - row) * PATCH * DY
                    distance = math.hypot(x, y)
                    alignment = (x * slope_x + y * slope_y) / (steepness * distance)
                    contrast = brightness[other_row][other] - brightness[row][column]
                    edges.append((other_row * side + other, row * side + column))
                    attributes.append([x, y, distance, alignment, contrast])
    return edges, attributes


def of_torch_geometric(image: Tensor) -> tuple[Tensor, Tensor]:
    """Edges [2, E] and attributes [E, 5] of one image by torch-geometric's grid and transforms."""
    from torch_geometric.data import Data
    from torch_geometric.transforms import Cartesian, Compose, Distance, TwoHop
    from torch_geometric.utils import grid, remove_self_loops

    side = SIZE // PATCH
    near, place = grid(side, side)
    place = torch.stack([place[:, 0] * PATCH * DX, -place[:, 1] * PATCH * DY], 1)  # its y runs up
    data = Data(edge_index=remove_self_loops(near)[0], pos=place, num_nodes=side**2)
    data = Compose([TwoHop(), Cartesian(norm=False), Distance(norm=False)])(data)
    (source, target), offset = remove_self_loops(data.edge_index, data.edge_attr)
    light = area_pool(image, PATCH).mean(0)
    slope = torch.stack([s.flatten() for s in gradient(light, dx=PATCH * DX, dy=PATCH * DY)], 1)[target]
    away = place[source] - place[target]
    alignment = (away * slope).sum(1) / (slope.norm(dim=1) * away.norm(dim=1)).clamp(min=1e-30)
    contrast = light.flatten()[source] - light.flatten()[target]
    attributes = torch.cat([away, offset[:, -1:], alignment[:, None], contrast[:, None]], 1)
    return torch.stack([source, target]), attributes


def seconds(work: Callable[[], object], rounds: int) -> float:
    """Median processor time after a first go that does not count."""
    work()
    taken = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def attention(graph: PatchGraph, rounds: int) -> tuple[float, float]:
    """Seconds of one layer, forward and back: ours, torch-geometric's."""
    from torch_geometric.nn import TransformerConv

    nodes = torch.randn(graph.nodes, WIDTH, requires_grad=True)
    data, ours = to_data(graph, nodes), EdgeAttention(WIDTH, HEADS)
    theirs = TransformerConv(WIDTH, WIDTH // HEADS, heads=HEADS, edge_dim=graph.attributes.shape[1])
    return (
        seconds(lambda: ours(nodes, graph).sum().backward(), rounds),
        seconds(lambda: theirs(data.x, data.edge_index, data.edge_attr).sum().backward(), rounds),
    )


def agree(image: Tensor) -> None:
    """Stop unless all three make the same graph of an image."""
    ours = patch_graph(image[None], dx=DX, dy=DY, patch=PATCH, hops=HOPS)
    edges, attributes = looped(image)
    pairs = torch.tensor(edges).T
    assert torch.equal(pairs, torch.stack([ours.source, ours.target]))
    assert torch.allclose(torch.tensor(attributes), ours.attributes, atol=1e-4)
    pairs, theirs = of_torch_geometric(image)
    order = (pairs[1] * len(pairs[0]) + pairs[0]).argsort()
    assert torch.equal(pairs[:, order], torch.stack([ours.source, ours.target]))
    assert torch.allclose(theirs[order], ours.attributes, atol=1e-4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="ten times the rounds, batches of 64 instead of 16")
    full = parser.parse_args().full
    warnings.filterwarnings("ignore", module="torch_geometric")
    torch.set_num_threads(1)
    count, rounds = (64, 50) if full else (16, 5)
    images = torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    agree(images[0])
    graph = patch_graph(images, dx=DX, dy=DY, patch=PATCH, hops=HOPS)
    loop = seconds(lambda: looped(images[0]), rounds)
    transforms = seconds(lambda: of_torch_geometric(images[0]), rounds)
    alone = seconds(lambda: patch_graph(images[:1], dx=DX, dy=DY, patch=PATCH, hops=HOPS), rounds)
    ours = seconds(lambda: patch_graph(images, dx=DX, dy=DY, patch=PATCH, hops=HOPS), rounds) / count
    layer, conv = attention(graph, rounds)
    print(f"double loop:            {1e3 * loop:8.2f} ms an image")
    print(f"torch-geometric:        {1e3 * transforms:8.2f} ms, {transforms / ours:.1f} times ours")
    print(f"ours, one image:        {1e3 * alone:8.2f} ms")
    print(f"ours, in batches of {count}: {1e3 * ours:8.2f} ms")
    print(
        f"attention, forward and back: {1e3 * layer / count:.2f} ms an image; TransformerConv {conv / layer:.2f} times"
    )
    print(f"GRAPH_SPEEDUP = {loop / ours:.0f} (aim 20)")


if __name__ == "__main__":
    main()
