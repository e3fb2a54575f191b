"""Probes: regressions on image features alone, the baseline that learned prompts must beat.

``ridge`` is a closed-form linear regression, its strength chosen by leave-one-out; ``mlp`` has one
hidden layer. Both end in a sigmoid, like the softmax over an antonym pair: scores are in (0, 1).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from clipiqa_plus.losses import mse

ProbeKind = Literal["ridge", "mlp"]

STRENGTHS = torch.logspace(-6, 3, 37, dtype=torch.float64)
"""Ridge strengths that leave-one-out chooses from: penalties on the squared norm of the weights,
for features of unit length and n times the mean squared error."""

_EDGE = 0.01  # MOS is clamped to [0.01, 0.99]: the logit of 0 or 1 is infinite


class Probe(nn.Module):
    """A regression from image features to scores.

    Args:
        dim: Length D of a feature.
        targets: Number T of scores.
        hidden: Width of the hidden layer; 0 for none, a linear probe.
        kind: Kind of fit.
    """

    def __init__(
        self, dim: int, targets: int = 1, hidden: int = 0, kind: ProbeKind = "ridge"
    ) -> None:
        super().__init__()
        self.dim, self.targets, self.hidden = dim, targets, hidden
        self.kind: ProbeKind = kind
        layers: list[nn.Module] = [nn.Linear(dim, hidden), nn.GELU()] if hidden else []
        self.layers = nn.Sequential(*layers, nn.Linear(hidden or dim, targets))

    def forward(self, features: Tensor) -> Tensor:
        """Score image features.

        Args:
            features: Unit features, float32 [B, D].

        Returns:
            Scores in (0, 1), float32 [B, T].
        """
        return torch.sigmoid(self.layers(features))


def fit_ridge(features: Tensor, mos: Tensor) -> tuple[Probe, float]:
    """Fit a linear probe by ridge regression on the logits of the MOS.

    With features ``X`` and logits ``z``, both centred, and the singular values ``s`` of ``X``, the
    hat matrix for strength ``a`` is ``H = U diag(s^2 / (s^2 + a)) U'``. The leave-one-out
    prediction of a row is ``(zhat - h z) / (1 - h)``, with the diagonal ``h`` of ``H + 1/n``. The
    strength with the lowest mean squared error of these predictions, after the sigmoid, is chosen.

    Args:
        features: Unit features, float [N, D].
        mos: Normalised MOS, float [N, T].

    Returns:
        The probe and its ridge strength.

    Raises:
        ValueError: If there are fewer than 3 rows, or the MOS of a target is constant.
    """
    _check(features, mos)
    x, y = features.double(), mos.double()
    z = torch.logit(y.clamp(_EDGE, 1 - _EDGE))
    x_mean, z_mean = x.mean(dim=0), z.mean(dim=0)
    u, s, vt = torch.linalg.svd(x - x_mean, full_matrices=False)
    projected = u.T @ (z - z_mean)  # [K, T]
    errors = []
    for strength in STRENGTHS.to(x.device):
        shrink = s**2 / (s**2 + strength)
        fitted = u @ (shrink[:, None] * projected) + z_mean  # [N, T]
        leverage = (u**2 @ shrink + 1 / len(x))[:, None]
        left_out = (fitted - leverage * z) / (1 - leverage).clamp(min=1e-9)
        errors.append(((torch.sigmoid(left_out) - y) ** 2).mean())
    best = STRENGTHS[int(torch.stack(errors).argmin())].to(x.device)
    weight = vt.T @ ((s / (s**2 + best))[:, None] * projected)  # [D, T]
    probe = Probe(x.shape[1], y.shape[1])
    linear = probe.layers[-1]
    assert isinstance(linear, nn.Linear)
    with torch.no_grad():
        linear.weight.copy_(weight.T)
        linear.bias.copy_(z_mean - x_mean @ weight)
    return probe.requires_grad_(False).to(features.device), float(best)


def fit_mlp(
    features: Tensor,
    mos: Tensor,
    val_features: Tensor,
    val_mos: Tensor,
    *,
    hidden: int = 64,
    steps: int = 300,
    patience: int = 30,
    seed: int = 0,
) -> Probe:
    """Fit a probe with one hidden layer by full-batch AdamW with early stopping.

    Args:
        features: Unit features, float32 [N, D].
        mos: Normalised MOS, float32 [N, T].
        val_features: Features of the validation rows, [M, D].
        val_mos: Their MOS, [M, T].
        hidden: Width of the hidden layer.
        steps: Maximum number of steps.
        patience: Number of steps without a lower validation error before stopping.
        seed: Seed of the initial weights.

    Returns:
        The probe at its lowest validation error.

    Raises:
        ValueError: If there are fewer than 3 rows, or the MOS of a target is constant.
    """
    _check(features, mos)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probe = Probe(features.shape[1], mos.shape[1], hidden, "mlp").to(features.device)
    optimizer = torch.optim.AdamW(probe.parameters(), lr=0.01, weight_decay=0.01)
    scale = features.shape[1] ** 0.5  # components of unit features are small: 1 / sqrt(D)
    linear = probe.layers[0]
    assert isinstance(linear, nn.Linear)
    with torch.no_grad():
        linear.weight.mul_(scale)
    lowest, best, best_at = float("inf"), {}, 0
    for step in range(steps):
        with torch.no_grad():
            error = float(mse(probe(val_features), val_mos))
        if error < lowest:
            lowest, best_at = error, step
            best = {name: value.clone() for name, value in probe.state_dict().items()}
        if step - best_at >= patience:
            break
        optimizer.zero_grad()
        with torch.enable_grad():
            mse(probe(features), mos).backward()
        optimizer.step()
    probe.load_state_dict(best)
    return probe.requires_grad_(False)


def _check(features: Tensor, mos: Tensor) -> None:
    if len(features) < 3:
        raise ValueError(f"{len(features)} rated pictures are too few for a probe; give at least 3")
    flat = (mos == mos[0]).all(dim=0)
    if flat.any():
        raise ValueError(f"the MOS of target {int(flat.nonzero()[0])} is constant: nothing to fit")
