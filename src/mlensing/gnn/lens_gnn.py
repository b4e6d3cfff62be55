"""LensGNN: kappa, psi and alpha of a lens by attention among the patches of its image.

Blocks of attention over a :func:`mlensing.gnn.graph.patch_graph`, after the graph attention of Veličković+2018
(arXiv:1710.10903) with the scaled scores of Shi+2021 (arXiv:2009.03509). The softmax runs over the edges that end in
one node, so that an image gets the same maps in any batch. A hub, joined to all nodes of one image (the master node of
Gilmer+2017, arXiv:1704.01212), carries what a whole arc says to all nodes at once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle

from mlensing.contract import ModelContract
from mlensing.errors import ConfigError
from mlensing.gnn.graph import ATTRIBUTES, PatchGraph, patch_graph
from mlensing.gnn.heads import PLACES, MapHeads, Maps, places
from mlensing.physics.grid import Value

ASKED = 4
"""Length of a query and of a key: edges outnumber nodes 24 to 1, so what is compared along them must be short."""


def softmax_per_target(score: Tensor, target: Tensor, nodes: int) -> Tensor:
    """Softmax over the edges that end in the same node.

    Arguments:
        score: [E, heads].
        target: node that each edge ends in [E].
        nodes: how many nodes there are.

    Returns:
        weights [E, heads]; those of the edges of one node sum to 1.

    Example:
        >>> softmax_per_target(torch.zeros(3, 1), torch.tensor([0, 0, 1]), 2).flatten().tolist()
        [0.5, 0.5, 1.0]
    """
    largest = score.new_full((nodes, score.shape[1]), -torch.inf)
    largest = largest.scatter_reduce(0, target[:, None].expand_as(score), score.detach(), "amax")
    weight = torch.exp(score - largest[target])  # no score may overflow
    return weight / score.new_zeros(largest.shape).index_add(0, target, weight)[target]


class EdgeAttention(nn.Module):
    """Each node takes from its neighbours what it asks for: sum over edges of softmax(q . k + geometry) v.

    Arguments:
        width: features of a node.
        heads: questions that are asked at once; divide the width.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key = nn.Linear(width, 2 * heads * ASKED)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.geometry = nn.Sequential(nn.Linear(len(ATTRIBUTES), 4 * heads), nn.GELU(), nn.Linear(4 * heads, heads))

    def forward(self, nodes: Tensor, graph: PatchGraph) -> Tensor:
        """Features [nodes, width] -> what each node takes [nodes, width]."""
        query, key = self.query_key(nodes).unflatten(1, (2, self.heads, ASKED)).unbind(1)
        value = self.value(nodes).unflatten(1, (self.heads, -1))
        match = (query[graph.target] * key[graph.source]).sum(-1) / ASKED**0.5
        score = (match + self.geometry(graph.attributes)).float()
        weight = softmax_per_target(score, graph.target, len(nodes))
        taken = weight.to(value.dtype)[..., None] * value[graph.source]
        return self.out(torch.zeros_like(value).index_add(0, graph.target, taken).flatten(1))  # type: ignore[no-any-return]


class Hub(nn.Module):
    """One more node an image, which attends to all others and tells them all the same.

    Arguments:
        width, heads: as for :class:`EdgeAttention`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.score, self.value, self.out = nn.Linear(width, heads), nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, nodes: Tensor) -> Tensor:
        """Features [images, nodes, width] -> [images, 1, width]."""
        weight = self.score(nodes).softmax(1)
        value = self.value(nodes).unflatten(2, (weight.shape[2], -1))
        return self.out(torch.einsum("bnh,bnhc->bhc", weight, value).flatten(1))[:, None]  # type: ignore[no-any-return]


class Block(nn.Module):
    """Neighbours, hub, and a node by itself, each added to what the node knew.

    Arguments:
        width, heads: as for :class:`EdgeAttention`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.hub = EdgeAttention(width, heads), Hub(width, heads)
        self.alone = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, nodes: Tensor, graph: PatchGraph) -> Tensor:
        """Features [images, nodes, width], the same shape."""
        known = self.before(nodes)
        taken = self.attention(known.flatten(0, 1), graph)
        nodes = nodes + taken.unflatten(0, nodes.shape[:2]) + self.hub(known)
        return nodes + self.alone(self.between(nodes))  # type: ignore[no-any-return]


class LensGNN(nn.Module):
    """Graph network from normalised images to maps at the spacing of its patches.

    Arguments:
        bands: channels of the images.
        patch, hops: of the graph, see :func:`mlensing.gnn.graph.patch_graph`.
        width: features of a node.
        depth: blocks.
        heads: of the attention.

    Example:
        >>> net = LensGNN(3, patch=2, hops=2, width=16, depth=2, heads=4)
        >>> maps = net(torch.randn(2, 3, 16, 24), dx=0.2, dy=torch.tensor([0.2, 0.3]))
        >>> maps["kappa"].shape, maps["alpha"].shape
        (torch.Size([2, 8, 12]), torch.Size([2, 2, 8, 12]))
    """

    def __init__(self, bands: int, *, patch: int, hops: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.patch, self.hops = patch, hops
        self.embed = nn.Linear(bands * patch**2 + PLACES, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm, self.heads = nn.LayerNorm(width), MapHeads(width)

    def forward(self, image: Tensor, *, dx: Value, dy: Value) -> Maps:
        """Image [B, bands, H, W] and size of a pixel [arcsec], numbers or [B] -> maps."""
        graph = patch_graph(image, dx=dx, dy=dy, patch=self.patch, hops=self.hops)
        where = places(graph.rows, graph.columns, dx=graph.dx, dy=graph.dy, like=image)
        nodes = self.embed(torch.cat([pixel_unshuffle(image, self.patch), where], 1).flatten(2).transpose(1, 2))
        for block in self.blocks:
            nodes = block(nodes, graph)
        features = self.norm(nodes).transpose(1, 2).unflatten(2, (graph.rows, graph.columns))
        return self.heads(features, dx=graph.dx, dy=graph.dy)  # type: ignore[no-any-return]


def lens_gnn(
    contract: ModelContract, *, patch: int = 2, hops: int = 2, width: int = 50, depth: int = 5, heads: int = 5
) -> nn.Module:
    """The graph network of a contract: 119 thousand parameters by default.

    Arguments:
        contract: gives bands and input size.
        patch, hops, width, depth, heads: as for :class:`LensGNN`.

    Raises:
        ConfigError: an option out of range.
    """
    fits = patch >= 1 and contract.input_size % max(patch, 1) == 0 and contract.input_size >= 2 * patch
    if not fits or min(hops, width, depth, heads) < 1 or width % max(heads, 1):
        problem = f"impossible patch={patch}, hops={hops}, width={width}, depth={depth} or heads={heads}"
        remedy = f"All 1 or more; patch divides {contract.input_size} pixels, heads divide the width."
        raise ConfigError(f"model {contract.name}", problem, remedy)
    return LensGNN(len(contract.bands), patch=patch, hops=hops, width=width, depth=depth, heads=heads)
