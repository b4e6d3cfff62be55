"""Whether images would look more like the training data with their bands in another order.

One image seldom tells: blue galaxies are as real as red ones. A few dozen of them do, and a wrong order is a mistake of
whole folders. The images are their own comparison, so what else is unusual about them does not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import torch
from torch import Tensor

from mlensing.data.statistics import image_statistics
from mlensing.inference.member import Member

FEWEST, MOST = 16, 64
"""Images that it takes, and that are looked at."""
NEARER, DEVIATIONS = 0.03, 3.0
"""What counts: the mean gain in distance [limits], and that over its own standard error."""
BANDS = 4
"""Most bands whose orders are all tried."""


@torch.inference_mode()
def nearer_order(members: Sequence[Member], image: Tensor, composite: Tensor) -> tuple[int, ...] | None:
    """The order of the bands in which these images lie clearly nearer to what the members were trained on, on average.

    Arguments:
        members: of an ensemble; those that say nothing of their training are not asked.
        image: [B, C, y, x] raw, as for ``Member.score``.
        composite: [B] bool.

    Returns:
        positions of the present bands, such as (2, 1, 0) where they came reversed; None if the present order is as near
        as any, or nothing can be said: few images, one band or many, or no member to ask.
    """
    image, composite = image[:MOST], composite[:MOST]
    asked = [member for member in members if member.domain is not None]
    if not asked or len(image) < FEWEST or not 1 < image.shape[1] <= BANDS:
        return None
    orders = list(permutations(range(image.shape[1])))
    far = torch.stack([_distance(asked, image[:, order], composite) for order in orders])
    known = far.isfinite().all(0)
    gain = (far[0] - far)[:, known]
    if gain.shape[1] < FEWEST:
        return None
    mean, error = gain.mean(1), gain.std(1) / gain.shape[1] ** 0.5
    best = int(mean.argmax())
    clear = bool(mean[best] > NEARER) and bool(mean[best] > DEVIATIONS * error[best])
    return orders[best] if clear else None


def _distance(members: Sequence[Member], image: Tensor, composite: Tensor) -> Tensor:
    """Mean distance [B] from what members with a domain were trained on [limits]."""
    found = []
    for member in members:
        assert member.domain is not None
        kind = composite.to(member.device)
        seen = image_statistics(member.normaliser(image.to(member.device), kind))
        found.append(member.domain.distance(seen, kind).double().cpu())
    return torch.stack(found).mean(0)
