"""Images as graphs of patches: who is whose neighbour, and what lies between them.

A node is a patch of pixels, by default 2 x 2. Its neighbours are all patches within ``hops`` rows and columns: with one
hop the 8 around it, with two also the 16 that those reach, 24 in all. Every edge has its reverse. At the border of an
image edges end: nothing wraps, nothing is padded, and a corner has 8 neighbours instead of 24.

Angles in arcsec, x along columns, y along rows; ``dx`` and ``dy`` are the size of a *pixel*, required, never averaged.
The nodes of a batch are numbered image by image, row by row; edges never join two images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mlensing.errors import ConfigError
from mlensing.physics.grid import Value, as_like, check_spacing, pixel_grid
from mlensing.physics.operators import area_pool, gradient

ATTRIBUTES = ("dx", "dy", "distance", "alignment", "contrast")
"""Columns of the attributes of an edge."""


@dataclass(frozen=True)
class PatchGraph:
    """The patches of a batch of images, joined to their neighbours.

    Attributes:
        source, target: node at the start and at the end of each edge [E], sorted by ``target``.
        attributes: [E, 5], columns as ``ATTRIBUTES``: offset of the source as the target sees it along x and y
            and its length [arcsec]; cosine between that offset and the brightness gradient at the target (0 without a
            gradient); brightness at the source less that at the target, mean over bands.
        dx, dy: spacing of the nodes along x and y [arcsec], [images].
        rows, columns: nodes along y and x of every image.
    """

    source: Tensor
    target: Tensor
    attributes: Tensor
    dx: Tensor
    dy: Tensor
    rows: int
    columns: int

    @property
    def images(self) -> int:
        """How many images there are."""
        return len(self.dx)

    @property
    def nodes(self) -> int:
        """How many nodes all images have."""
        return self.images * self.rows * self.columns

    def positions(self) -> Tensor:
        """x and y of the nodes from the middle of their image [arcsec], [nodes, 2]."""
        x, y = pixel_grid(self.rows, self.columns, dx=self.dx, dy=self.dy, device=self.dx.device, dtype=self.dx.dtype)
        return torch.stack([x, y], -1).reshape(-1, 2)


def patch_graph(image: Tensor, *, dx: Value, dy: Value, patch: int = 2, hops: int = 2) -> PatchGraph:
    """The graph of a batch of images.

    Arguments:
        image: [B, bands, H, W].
        dx, dy: size of a pixel along x and y [arcsec], numbers or tensors [B].
        patch: pixels a side of a node; divides H and W.
        hops: rows and columns that neighbours are away at most.

    Raises:
        ConfigError: a spacing that is not positive, a patch that does not divide the image or leaves fewer than two
            nodes an axis, or no hop.

    Example:
        >>> graph = patch_graph(torch.zeros(1, 3, 8, 12), dx=0.2, dy=0.1)
        >>> graph.rows, graph.columns, len(graph.source)
        (4, 6, 312)
        >>> graph.attributes[0].tolist()  # the first node's first neighbour: the next patch to the right
        [0.4000000059604645, 0.0, 0.4000000059604645, 0.0, 0.0]
    """
    check_spacing(dx=dx, dy=dy)
    if image.ndim != 4:
        raise ConfigError("image", f"expected [B, bands, H, W], got {list(image.shape)}", "Add the missing axes.")
    brightness = area_pool(image, patch).mean(1)
    images, rows, columns = brightness.shape
    width, height = (patch * value.expand(images) for value in as_like(brightness, dx, dy))
    source, target = neighbours(rows, columns, hops=hops, device=image.device)
    attributes = _attributes(brightness, source, target, dx=width, dy=height)
    first = rows * columns * torch.arange(images, device=image.device)[:, None]
    return PatchGraph(
        (source + first).flatten(), (target + first).flatten(), attributes.flatten(0, 1), width, height, rows, columns
    )


def neighbours(
    rows: int, columns: int, *, hops: int, device: torch.device | str | None = None
) -> tuple[Tensor, Tensor]:
    """Source and target [E] of the edges of a grid of nodes, sorted by target.

    Arguments:
        rows, columns: nodes along y and x, numbered row by row.
        hops: largest distance along either axis.

    Raises:
        ConfigError: no hop.

    Example:
        >>> source, target = neighbours(3, 3, hops=1)
        >>> source[target == 0].tolist(), (target == 4).sum().item()
        ([1, 3, 4], 8)
    """
    if hops < 1:
        raise ConfigError("hops", f"expected 1 or more, got {hops}", "Take 1 for 8 neighbours, 2 for 24.")
    step = torch.arange(-hops, hops + 1, device=device)
    node = torch.arange(rows * columns, device=device)[:, None, None]
    row, column = node // columns + step[:, None], node % columns + step
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    source = row * columns + column
    target, down, across = (inside & (source != node)).nonzero(as_tuple=True)
    return source[target, down, across], target


def _attributes(brightness: Tensor, source: Tensor, target: Tensor, *, dx: Tensor, dy: Tensor) -> Tensor:
    """[B, E, 5] of the edges that every image has."""
    columns = brightness.shape[-1]
    x = (source % columns - target % columns) * dx[:, None]
    y = (source // columns - target // columns) * dy[:, None]
    distance = torch.hypot(x, y)
    light, slope = brightness.flatten(1), torch.stack(gradient(brightness, dx=dx, dy=dy)).flatten(2)
    steepness = torch.hypot(*slope).clamp(min=torch.finfo(light.dtype).tiny)
    uphill_x, uphill_y = (slope / steepness).index_select(2, target)  # of nodes first: edges are 24 times as many
    alignment = (x * uphill_x + y * uphill_y) / distance
    contrast = light.index_select(1, source) - light.index_select(1, target)
    return torch.stack([x, y, distance, alignment, contrast], -1)


def to_data(graph: PatchGraph, features: Tensor) -> Any:
    """The same as a ``torch_geometric.data.Data``: ``x``, ``edge_index``, ``edge_attr``, ``pos`` and ``batch``.

    Arguments:
        graph: of one image or of many.
        features: of the nodes, [nodes, F].

    Raises:
        ConfigError: the extra ``gnn`` is not installed, or features of another number of nodes.

    Example:
        >>> graph = patch_graph(torch.zeros(2, 1, 4, 4), dx=0.2, dy=0.2)
        >>> to_data(graph, torch.zeros(8, 3))  # doctest: +SKIP
        Data(x=[8, 3], edge_index=[2, 24], edge_attr=[24, 5], pos=[8, 2], batch=[8])
    """
    if len(features) != graph.nodes:
        problem = f"the graph has {graph.nodes} nodes, the features {len(features)} rows"
        raise ConfigError("features", problem, "Give one row a node.")
    try:
        from torch_geometric.data import Data  # an extra
    except ImportError as error:
        raise ConfigError("torch-geometric", "it is not installed", "Run pip install 'mlensing[gnn]'.") from error
    return Data(
        x=features,
        edge_index=torch.stack([graph.source, graph.target]),
        edge_attr=graph.attributes,
        pos=graph.positions(),
        batch=torch.arange(graph.images, device=features.device).repeat_interleave(graph.rows * graph.columns),
    )
