"""A mean teacher: a finder that learns from labels, and from what an average of itself says of images without.

The student learns. The teacher is the exponential average of its weights (Tarvainen & Valpola 2017, arXiv:1703.01780),
and is what is validated, kept and used. Of an unlabelled image the teacher is shown a weak view (flips, quarter turns,
a shift), the student a strong one (any turn, seeing, dust, noise), as in FixMatch (Sohn+2020, arXiv:2001.07685).
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn

from mlensing.contract import ModelContract
from mlensing.data.augment import augment
from mlensing.data.normalise import sky
from mlensing.evaluation.calibration import shift_prevalence
from mlensing.models.maps import CORE
from mlensing.physics import interior_mask
from mlensing.training.finder import Finder
from mlensing.training.losses import consistency, with_teacher
from mlensing.training.schedules import averaging_decay, pseudo_threshold, unlabelled_count, unlabelled_ratio
from mlensing.training.semi_losses import disagreement, pseudo_bce, pseudo_labels
from mlensing.training.views import TURNED, exposed, middle

Batch = dict[str, Tensor]
STUDENT = "student."
"""What the names of the student's weights begin with."""
ANY_ANGLE = 180.0


class MeanTeacher(Finder):
    """A finder that also learns from unlabelled images.

    ``net`` is the teacher, in evaluation mode and without gradients; ``student`` is what the optimiser changes. In
    epoch e a batch holds the share ``unlabelled_ratio(e)`` of unlabelled images, none before the warm-up ends. Each
    weighs as much as a labelled one, times the weight of its loss: the growing ratio is the ramp of these losses.

    Arguments:
        contract, net, options: as ``Finder``.
        warmup_epochs: epochs with labels alone.
        ema: decay of the teacher, which rises to it (``schedules.averaging_decay``).
        consistency: weight of ``semi_losses.disagreement``.
        pseudo: weight of ``semi_losses.pseudo_bce``.
        map_consistency: weight of ``losses.consistency`` of kappa, with the task ``maps``.
        prevalence: share of lenses among the unlabelled images; None takes that of the labelled ones.

    See also: ``training.fit_semi`` runs it, and says what holds where lenses are rare.
    """

    figures: ClassVar[tuple[str, ...]] = (*Finder.figures, "ratio", "threshold", "pseudo_lenses", "pseudo_others")

    def __init__(
        self,
        contract: ModelContract,
        net: nn.Module,
        *,
        warmup_epochs: int = 5,
        ema: float = 0.999,
        consistency: float = 10.0,
        pseudo: float = 1.0,
        map_consistency: float = 0.1,
        prevalence: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(contract, net, **options)
        self.warmup_epochs, self.ema = warmup_epochs, ema
        self.weights = {"consistency": consistency, "pseudo": pseudo, "map_consistency": map_consistency}
        self.student = self.net
        self.net = deepcopy(self.student).requires_grad_(False).eval()
        rare = contract.prevalence if prevalence is None else prevalence
        self.rarity = float(shift_prevalence(0.0, contract.prevalence, rare))

    def train(self, mode: bool = True) -> MeanTeacher:
        """Training mode for the student alone."""
        super().train(mode)
        self.net.eval()
        return self

    def training_step(self, batch: dict[str, Batch], batch_idx: int) -> Tensor:  # type: ignore[override]
        """Loss of ``labelled`` and, as many as the epoch asks for, of ``unlabelled`` images."""
        generator = self.step_generator()
        image, composite, labelled = self.augmented(batch["labelled"], generator)
        ratio = unlabelled_ratio(self.current_epoch, warmup=self.warmup_epochs)
        count = unlabelled_count(len(image), ratio)
        if not count:
            loss = self._loss(self.output(image, composite, labelled, net=self.student), labelled)
        else:
            rows = {name: values[:count] for name, values in batch["unlabelled"].items()}
            strong, style, taught = self.taught(rows, generator)
            both = torch.cat([image, strong]), torch.cat([composite, style])
            spacing = {name: torch.cat([labelled[name], taught[name]]) for name in ("dx", "dy")}
            output = self.output(*both, spacing, net=self.student)
            halves = slice(len(image)), slice(len(image), None)
            ours, theirs = ({name: part[half] for name, part in output.items()} for half in halves)
            loss = self._loss(ours, labelled) + len(strong) / len(image) * self.unlabelled_loss(theirs, taught)
        self._tell(loss, len(image), ratio)
        return loss

    def taught(self, rows: Mapping[str, Tensor], generator: Generator) -> tuple[Tensor, Tensor, Batch]:
        """The strong view of unlabelled images, which of them are composites, and what the teacher says of each.

        Of maps it says it in the student's view: they are laid back on the pixels that they came from, and turned with
        the image.
        """
        raw, shape = rows["image"], rows["image"].shape[-2:]
        size, shift = self.contract.input_size, self.shift_px
        place = torch.arange(shape.numel(), device=raw.device).view(shape).expand(len(raw), *shape)
        moved = {"dx": rows["dx"], "dy": rows["dy"], "place": place, "mask": torch.zeros_like(place, dtype=torch.bool)}
        weak, moved = augment(raw, moved, generator, shift_px=shift, size=size)
        with torch.no_grad():
            said = self.output(*self._composed(weak, {**rows, **moved}, generator), moved)
        still = {"dx": rows["dx"], "dy": rows["dy"]}
        if self.contract.task == "maps":
            still |= laid_back(said, moved["place"], moved["mask"], shape)
        strong, moved = augment(raw, still, generator, shift_px=shift, rotate_deg=ANY_ANGLE, size=size)
        background = sky(middle(raw, size))  # a turn has taken noise that the view shall have back
        strong = exposed(strong, rows["composite"], generator, background=background, kept=TURNED)
        strong, composite = self._composed(strong, {**rows, **moved}, generator)
        spacing = {name: moved.pop(name) for name in ("dx", "dy")}
        return strong, composite, with_teacher(spacing, {"logit": said["logit"], **moved})

    def unlabelled_loss(self, output: Mapping[str, Tensor], taught: Batch) -> Tensor:
        """Weighted losses of unlabelled images; pseudo-labels, and their loss, are at the prevalence of these."""
        threshold = pseudo_threshold(self.current_epoch, warmup=self.warmup_epochs)
        odds = taught["teacher_logit"].float() - self.contract.logit_shift + self.rarity
        label = pseudo_labels(odds, threshold)
        for name, value in (("pseudo_lenses", 1.0), ("pseudo_others", 0.0)):
            self._record(name, (label == value).float().mean(), len(label))
        rare = {"logit": output["logit"] + self.rarity}
        ratio = torch.full((), self.contract.class_weight_ratio, device=label.device)
        loss = self.weights["consistency"] * disagreement(output, taught)
        loss = loss + self.weights["pseudo"] * pseudo_bce(rare, {"pseudo_label": label, "positive_weight": ratio})
        if self.contract.task == "maps":
            loss = loss + self.weights["map_consistency"] * consistency(output, taught)
        return loss

    @torch.no_grad()
    def on_train_batch_end(self, *_: Any) -> None:
        """The teacher follows the student: weights and running statistics."""
        keep = averaging_decay(self.global_step - 1, decay=self.ema)
        pairs = zip(self.net.state_dict().values(), self.student.state_dict().values(), strict=True)
        for mean, new in pairs:
            mean.copy_(torch.lerp(new, mean, keep) if mean.is_floating_point() else new)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The file is a finder's, the teacher; the student lies beside it, for a training to go on."""
        super().on_save_checkpoint(checkpoint)
        state = checkpoint["state_dict"]
        checkpoint["student"] = {name: state.pop(name) for name in list(state) if name.startswith(STUDENT)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Both go on."""
        checkpoint["state_dict"] = {**checkpoint["state_dict"], **checkpoint["student"]}

    def _tell(self, loss: Tensor, count: int, ratio: float) -> None:
        self._record("train_loss", loss, count)
        self._record("ratio", ratio, count)
        self._record("threshold", pseudo_threshold(self.current_epoch, warmup=self.warmup_epochs), count)

    def _record(self, name: str, value: Tensor | float, count: int) -> None:
        self.log(name, value, batch_size=count, on_step=False, on_epoch=True, sync_dist=True)


def laid_back(said: Mapping[str, Tensor], place: Tensor, outside: Tensor, shape: torch.Size) -> Batch:
    """Maps of a turned and shifted view on the pixels that it came from.

    Arguments:
        said: ``kappa``, ``kappa_log_variance`` [B, h, w].
        place: [B, h, w], the number of the pixel that each came from, rows first.
        outside: [B, h, w], True where it came from beyond the border.
        shape: (H, W) of the original.

    Returns:
        the same [B, H, W], and ``mask``, True where the view did not reach, and in the core, where kappa diverges and
        turning a map by anything but quarters would change it.

    Example:
        >>> place = torch.tensor([[[5, 4], [3, 2]]])
        >>> view = {"kappa": torch.tensor([[[0.5, 0.4], [0.3, 0.2]]]), "kappa_log_variance": torch.zeros(1, 2, 2)}
        >>> laid_back(view, place, torch.zeros_like(place, dtype=torch.bool), torch.Size((3, 2)))["kappa"][0]
        tensor([[0.0000, 0.0000],
                [0.2000, 0.3000],
                [0.4000, 0.5000]])
    """
    spare = shape.numel()  # one more pixel, for all that lies outside
    target = torch.where(outside, spare, place).flatten(1)

    def laid(plane: Tensor, fill: float | bool) -> Tensor:
        canvas = torch.full((len(plane), spare + 1), fill, dtype=plane.dtype, device=plane.device)
        return canvas.scatter(1, target, plane.flatten(1))[:, :-1].view(-1, *shape)

    away = interior_mask(*shape, dx=1.0, dy=1.0, border=0, core=CORE, device=place.device)
    maps = {name: laid(said[name], 0.0) for name in ("kappa", "kappa_log_variance")}
    return {**maps, "mask": laid(torch.zeros_like(outside), True) | ~away}
