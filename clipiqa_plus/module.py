"""CLIPIQAPlus: the LightningModule that composes backbone, prompts, scoring, loss and metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from os import PathLike
from typing import Any, Literal, cast

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

from clipiqa_plus import __version__
from clipiqa_plus.clip.backbone import FrozenCLIP, TextPrecision
from clipiqa_plus.clip.conventions import BackboneSpec, backbone_spec
from clipiqa_plus.clip.image_tower import PosEmbedding, Precision
from clipiqa_plus.data.base import IQADataModule
from clipiqa_plus.features.cache import FeatureCache
from clipiqa_plus.losses import (
    GRADE_LOSSES,
    Labels,
    LossName,
    Predicted,
    check_loss,
    training_loss,
)
from clipiqa_plus.metrics.by_set import PartMetrics
from clipiqa_plus.prompts.checkpoints import FACTS, check_layout, read_torch
from clipiqa_plus.prompts.config import PromptConfig, prompt_source, regressor, summary
from clipiqa_plus.prompts.files import check_backbone
from clipiqa_plus.prompts.schedule import scheduled
from clipiqa_plus.prompts.sources import ContextPrompts
from clipiqa_plus.scoring import mean_grades, scale_score

__all__ = ["CLIPIQAPlus", "PromptConfig", "Reduction", "sgd"]

Reduction = Literal["mean", "regressor", "none"]


def sgd(parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Return the optimizer of the official recipe: SGD at 0.002, no momentum."""
    return torch.optim.SGD(parameters, lr=0.002)


class CLIPIQAPlus(LightningModule):
    """CLIP-IQA and CLIP-IQA+ in one module.

    Args:
        backbone: Name or path of CLIP weights (``RN50``, ``ViT-B/32``, ..., ``photo``), or a
            BackboneSpec that also states what no file records of them, or a FrozenCLIP to share.
        pos_embedding: Positional embedding of the image tower: ``none`` (as in the paper), ``grid``
            (resized to the cells of the picture) or ``table`` (as in pyiqa and the official code),
            see :data:`~clipiqa_plus.clip.image_tower.PosEmbedding`. By default ``none`` on a
            ResNet and ``grid`` on a ViT. Booleans come from earlier recipes.
        precision: Number format of the frozen image tower.
        prompts: The antonym pairs or scales, and whether context tokens are learned for them.
        reduction: From P pairs to scores: their ``mean``; a learned linear ``regressor``, which
            starts as the mean; or ``none``, one score per pair, for P target columns.
        loss: ``mse`` (official), ``plcc``, ``mse_plcc`` (pyiqa), ``rank``, ``fidelity`` (pairs,
            with the raters' deviations where known), or ``cross_entropy`` or ``emd`` to the raters'
            distribution over grades; see :mod:`clipiqa_plus.losses`. Votes have their own.
        optimizer: Callable that takes parameters and returns an optimizer.
        schedule: Learning rate schedule: ``cosine`` from the optimizer's rate down to ``min_lr``,
            or ``constant``.
        period: Steps of the cosine. Training may be shorter (it then ends above ``min_lr``), but
            not longer. None uses the length of the training.
        min_lr: Learning rate at the end of the cosine.
        text_precision: Number format of the text tower's matrix products, fp32 or bf16; bf16 is
            faster on CPUs and GPUs that support it.
        compile_text: Compile the text pass of a training step; the first step then takes
            minutes. On a GPU this replays CUDA graphs, which is untested.
    """

    def __init__(
        self,
        backbone: str | BackboneSpec | FrozenCLIP = "RN50",
        pos_embedding: PosEmbedding | bool | None = None,
        precision: Precision = "fp32",
        prompts: PromptConfig = PromptConfig(),  # noqa: B008 (never changed)
        reduction: Reduction = "mean",
        loss: LossName = "mse",
        optimizer: OptimizerCallable = sgd,
        schedule: Literal["cosine", "constant"] = "cosine",
        period: int | None = None,
        min_lr: float = 0.0,
        text_precision: TextPrecision = "fp32",
        compile_text: bool = False,
    ) -> None:
        super().__init__()
        if isinstance(prompts, Mapping):  # from a checkpoint
            prompts = PromptConfig(**prompts)
        if period is not None and period < 1:
            raise ValueError(f"period of the schedule is {period}; give at least 1 step, or none")
        check_loss(loss, grades=reduction != "regressor")
        if not isinstance(backbone, FrozenCLIP):
            self.save_hyperparameters({"backbone": backbone_spec(backbone).section})
            backbone = FrozenCLIP.from_name(
                backbone, pos_embedding, precision, text_precision, compile_text
            )
        self.save_hyperparameters(
            {
                "pos_embedding": backbone.pos_embedding,
                "precision": backbone.precision,
                "prompts": asdict(prompts),
                "reduction": reduction,
                "loss": loss,
                "schedule": schedule,
                "period": period,
                "min_lr": min_lr,
                "text_precision": backbone.text_precision,
                "compile_text": backbone.compile_text,
            }
        )
        self.backbone = backbone
        self.config = prompts
        self.prompts = prompt_source(prompts, backbone)
        self.reduction: Reduction = reduction
        self.loss: LossName = loss
        self.optimizer = optimizer
        self.schedule, self.period, self.min_lr = schedule, period, min_lr
        n_pairs = len(self.prompts.pairs)
        self.regressor: nn.Linear | None = None
        if reduction == "regressor":
            self.regressor = regressor(n_pairs, prompts.file)
        n_scores = n_pairs if reduction == "none" else 1
        # A padded sampler scores some pictures twice: the largest difference between the scores.
        tolerance = 1e-4 if backbone.precision == "fp32" else 0.1
        self.val_metrics = PartMetrics(n_scores, tolerance)
        self.test_metrics = PartMetrics(n_scores, tolerance)
        self._text: tuple[tuple[Any, ...], Tensor] | None = None
        # The context tokens while zero-shot is on; in a tuple, so that they are not registered.
        self._aside: tuple[ContextPrompts, ...] = ()

    def zero_shot(self) -> CLIPIQAPlus:
        """Switch to pure zero-shot, in place: the same antonym pairs in words.

        The context tokens are kept aside; :meth:`learned` switches back to them.

        Returns:
            The module itself.
        """
        if self.regressor is not None:
            raise RuntimeError("a regressor is learned; zero-shot takes reduction 'mean' or 'none'")
        if isinstance(self.prompts, ContextPrompts):
            self._aside = (self.prompts,)
        self.prompts = self.prompts.in_words(self.backbone).to(self.device)
        return self

    def learned(self) -> CLIPIQAPlus:
        """Switch back, in place, from :meth:`zero_shot` to the context tokens.

        Returns:
            The module itself.

        Raises:
            RuntimeError: If there are none.
        """
        if self.is_zero_shot:
            if not self._aside:
                raise RuntimeError("no context tokens: this module has always been zero-shot")
            (self.prompts,) = self._aside
            self.prompts.to(self.device)
        return self

    @property
    def is_zero_shot(self) -> bool:
        """Whether the prompts are fixed words."""
        return not isinstance(self.prompts, ContextPrompts)

    def text_features(self) -> Tensor:
        """Return the text features: float32 [P, K, D], or [M, P, K, D] of an ensemble.

        With gradients they are recomputed at each call; without, once per state of the prompts.
        """
        if torch.is_grad_enabled():
            return cast(Tensor, self.prompts(self.backbone))
        # An optimizer step, loading a state and moving to another device each change this key.
        ctx = getattr(self.prompts, "ctx", self.prompts.ids)
        if ctx.is_inference():  # inference tensors have no version counter
            return cast(Tensor, self.prompts(self.backbone))
        key = (id(self.prompts), ctx.device, ctx.data_ptr(), ctx._version)
        if self._text is None or self._text[0] != key:
            self._text = key, self.prompts(self.backbone)
        return self._text[1]

    def score_features(self, features: Tensor, text: Tensor | None = None) -> Tensor:
        """Score image features.

        Args:
            features: Unit features, float32 [B, D].
            text: Text features [P, K, D] to use instead of the module's own; or [M, P, K, D] of an
                ensemble, the score being the mean over its M members.

        Returns:
            Scores, float32 [B, T], in [0, 1] unless a regressor is used; T is P with reduction
            ``none``, otherwise 1.
        """
        text = self.text_features() if text is None else text
        prompts, clip = self.prompts, self.backbone
        scores = scale_score(features, text, prompts.logit_scale(clip), prompts.levels)
        if self.regressor is not None:
            scores = self.regressor(scores)
        elif self.reduction == "mean":
            scores = scores.mean(dim=-1, keepdim=True)
        return scores if scores.ndim == 2 else scores.mean(dim=0)

    def grade_features(self, features: Tensor, text: Tensor | None = None) -> Tensor:
        """Return the distributions over grades whose means are the scores.

        Args:
            features: Unit features, float32 [B, D].
            text: Text features to use instead of the module's own, see :meth:`score_features`.

        Returns:
            Probabilities, float32 [B, T, K], worst grade first. There are none with a regressor.
        """
        text = self.text_features() if text is None else text
        scale = self.prompts.logit_scale(self.backbone)
        return mean_grades(features, text, scale, self.reduction == "mean")

    def forward(self, images: Tensor | Sequence[Tensor]) -> Tensor:
        """Score pictures.

        Args:
            images: [B, 3, H, W] or B pictures [3, H, W]; RGB, uint8 or floats in [0, 1].

        Returns:
            Scores, float32 [B, T], see :meth:`score_features`.

        Raises:
            RuntimeError: If the context tokens are random.
        """
        self.require_learned()
        return self.score_features(self.backbone.encode_image(images))

    def require_learned(self) -> None:
        """Raise an error if the context tokens are untrained.

        Raises:
            RuntimeError: If they are; the message explains how to get learned or zero-shot prompts.
        """
        if isinstance(self.prompts, ContextPrompts) and not self.prompts.learned:
            raise RuntimeError(
                "the context tokens are random: train them, load a checkpoint or a prompt file "
                "(prompts.file), or switch to zero-shot (prompts.mode: zero_shot, or "
                "model.zero_shot())"
            )

    def _scores(self, batch: dict[str, Any], text: Tensor | None = None) -> Tensor:
        if "features" not in batch:
            batch["features"] = self.backbone.encode_image(batch["image"])
        scores = self.score_features(batch["features"], text)
        if scores.shape != batch["mos"].shape:
            raise ValueError(
                f"{scores.shape[1]} scores for {batch['mos'].shape[1]} target columns: give as "
                "many antonym pairs as targets with reduction 'none', or one target"
            )
        return scores

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """Return the loss of a batch; logged is the mean of the epoch, or L-BFGS's lowest."""
        text = self.text_features()  # once: it is the cost of a step
        scores = self._scores(batch, text)
        graded = self.loss in GRADE_LOSSES
        grades = self.grade_features(batch["features"], text) if graded else None
        predicted = Predicted(scores, grades, self.prompts.levels)
        loss = training_loss(self.loss, predicted, Labels.of(batch))
        how: Any = {"on_step": False, "on_epoch": True, "sync_dist": True, "prog_bar": True}
        how["reduce_fx"] = "min" if isinstance(self.trainer.optimizers[0], LBFGS) else "mean"
        self.log("train/loss", loss, batch_size=len(batch["mos"]), **how)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        """Collect a batch for the validation metrics."""
        self.val_metrics.update(self._scores(batch), batch["mos"], batch["id"], batch.get("set"))

    def test_step(self, batch: dict[str, Any], batch_index: int) -> None:
        """Collect a batch for the test metrics."""
        self.test_metrics.update(self._scores(batch), batch["mos"], batch["id"], batch.get("set"))

    def predict_step(self, batch: dict[str, Any], batch_index: int) -> dict[str, Tensor]:
        """Return ``id`` int64 [B], ``score`` float32 [B, T] and ``mos_raw`` float64 [B, T]."""
        return {"id": batch["id"], "score": self._scores(batch), "mos_raw": batch["mos_raw"]}

    def setup(self, stage: str) -> None:
        """Name the metrics after the targets, and after the sets of a mixture."""
        data = getattr(self.trainer, "datamodule", None)
        for part, metrics in (("val", self.val_metrics), ("test", self.test_metrics)):
            sets = data.set_names(part) if isinstance(data, IQADataModule) else {}
            votes = data.vote_counts(part) if isinstance(data, IQADataModule) else {}
            metrics.configure(getattr(data, "targets", ()), sets, votes)

    def _log_metrics(self, metrics: PartMetrics, stage: str) -> None:
        found = metrics.results()  # of all processes
        for name, value in found.items():
            shown = len(found) <= 4 or name.endswith("_mean")
            self.log(f"{stage}/{name}", value, prog_bar=shown)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of the whole validation part."""
        self._log_metrics(self.val_metrics, "val")

    def on_test_epoch_end(self) -> None:
        """Log the metrics of the whole test part."""
        self._log_metrics(self.test_metrics, "test")

    def configure_callbacks(self) -> list[Callback]:
        """Add a feature cache to a trainer that has none, so that each view is encoded once."""
        callbacks: list[Callback] = getattr(self.trainer, "callbacks", [])
        return [] if any(isinstance(c, FeatureCache) for c in callbacks) else [FeatureCache()]

    def on_fit_start(self) -> None:
        """Log what is trained and what is frozen."""
        rank_zero_info(self.summary())

    def on_validation_start(self) -> None:
        """Refuse to validate random context tokens, except while they are being trained."""
        if self.trainer.state.fn != TrainerFn.FITTING:
            self.require_learned()

    def on_test_start(self) -> None:
        """Refuse to test or to predict with random context tokens."""
        self.require_learned()

    on_predict_start = on_test_start

    def summary(self) -> str:
        """Return a few lines that list what is trained and what is frozen."""
        clip = self.backbone
        lines = [
            f"frozen  CLIP {clip.name}: {clip.parameter_count:,} weights, positional embedding "
            f"{clip.pos_embedding}, {clip.precision}"
        ]
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                shape = " x ".join(map(str, parameter.shape))
                lines.append(f"trained {name}: {shape} = {parameter.numel():,} parameters")
        return "\n".join(lines + summary(self.prompts))

    def configure_optimizers(self) -> Any:
        """Return the optimizer over the context tokens and its schedule.

        Raises:
            RuntimeError: If there is nothing to train.
            ValueError: If L-BFGS is combined with a schedule or with half precision.
        """
        parameters = [p for p in self.parameters() if p.requires_grad]
        if not parameters:
            raise RuntimeError(
                "zero-shot prompts have nothing to train; evaluate them, or set prompts.mode to "
                "learned"
            )
        made, steady = self.optimizer(parameters), self.schedule == "constant"
        return scheduled(made, steady, self.trainer, self.period, self.min_lr)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step the optimizer and count the step: context tokens with steps count as learned."""
        super().optimizer_step(*args, **kwargs)
        if isinstance(self.prompts, ContextPrompts):
            self.prompts.steps += 1

    def facts(self) -> dict[str, Any]:
        """Return the metadata that a checkpoint or a prompt file records about this module."""
        prompts = self.prompts
        described = prompts.describe() if isinstance(prompts, ContextPrompts) else {}
        return {
            **self.backbone.describe(),
            **described,
            "reduction": self.reduction,
            "version": __version__,
        }

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> CLIPIQAPlus:
        """Load a module as Lightning does, from a checkpoint of tensors and plain values only.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds Python objects, which could run code.
        """
        if isinstance(checkpoint_path, str | PathLike):
            read_torch(checkpoint_path)
        return super().load_from_checkpoint(checkpoint_path, *args, **kwargs)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record the backbone and the prompt layout; the CLIP weights are not saved."""
        checkpoint[FACTS] = self.facts()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another backbone or another prompt layout."""
        facts = checkpoint.get(FACTS)
        if facts is None:
            raise ValueError("this checkpoint was not written by clipiqa_plus")
        check_backbone(facts, self.backbone, "this checkpoint")
        check_layout(facts, self.facts())
