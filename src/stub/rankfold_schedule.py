"""Learning rates by update: CALR and its rivals, each one closed form.

CALR (Acharya, Goel, Metallinou, Dhillon, AAAI 2019, arXiv 1811.00641) is a triangular cycle between `base_lr` and an
upper bound that is multiplied by `decay` every `decay_every` epochs, and starts again from `max_lr` once it would reach
`base_lr`. With t = 0, 1, 2, ... the number of updates done:

    epoch = t div steps_per_epoch;  n = epoch div decay_every
    upper = max_lr decay^(n mod m),  m = the smallest j >= 1 with max_lr decay^j <= base_lr  (none: no restart)
    cycle = floor(1 + t / (2 step_size));  x = |t / step_size - 2 cycle + 1|
    rate  = base_lr + (upper - base_lr) max(0, 1 - x)

`rankfold schedule` prints the same numbers. Needs torch only for `RateScheduler`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Callable


@dataclass(frozen=True)
class Settings:
    """What a schedule may depend on; each uses some of it."""

    max_lr: float
    base_lr: float
    step_size: int = 1000
    steps_per_epoch: int = 1000
    decay: float = 0.1
    decay_every: int = 1
    gamma: float = 0.99994
    updates: int = 8000

    def __post_init__(self) -> None:
        if not (math.isfinite(self.max_lr) and self.max_lr > 0):
            raise ValueError(f"max_lr: expected a positive number, found {self.max_lr}")
        if not 0 <= self.base_lr < self.max_lr:
            raise ValueError(f"base_lr: expected at least 0 and less than max_lr, found {self.base_lr}")
        for name in ("decay", "gamma"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected more than 0 and at most 1, found {getattr(self, name)}")
        for name in ("step_size", "steps_per_epoch", "decay_every", "updates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, found {getattr(self, name)}")

    def decays(self, t: int) -> int:
        return t // self.steps_per_epoch // self.decay_every

    def progress(self, t: int) -> float:
        return min(t, self.updates) / self.updates

    def between(self, share: float) -> float:
        return self.base_lr + (self.max_lr - self.base_lr) * share


def _cycle(s: Settings, t: int) -> tuple[float, float]:
    """The number of the cycle (1, 2, ...) and the height in it (0 to 1)."""
    number = float(math.floor(1.0 + t / (2.0 * s.step_size)))
    return number, max(0.0, 1.0 - abs(t / s.step_size - 2.0 * number + 1.0))


def _decays_to_restart(s: Settings) -> int | None:
    if s.decay >= 1 or s.base_lr <= 0:
        return None
    # A base of 1e-6 is three decays of 0.1 below 1e-3, although the product lies a little above it; hence the 1e-9.
    j = max(1.0, _round(math.log(s.base_lr / s.max_lr) / math.log(s.decay)) - 1.0)
    while not s.max_lr * math.pow(s.decay, j) <= s.base_lr * (1.0 + 1e-9):
        j += 1.0
    return int(j)


def _round(x: float) -> float:
    """Half away from zero; Python's own rounds half to even."""
    return math.floor(x + 0.5)


def calr(s: Settings, t: int) -> float:
    n, restart = s.decays(t), _decays_to_restart(s)
    upper = max(s.base_lr, s.max_lr * math.pow(s.decay, n if restart is None else n % restart))
    return s.base_lr + (upper - s.base_lr) * _cycle(s, t)[1]


def constant(s: Settings, t: int) -> float:
    return s.max_lr


def step(s: Settings, t: int) -> float:
    return s.max_lr * math.pow(s.decay, s.decays(t))


def exponential(s: Settings, t: int) -> float:
    return s.max_lr * math.pow(s.decay, t / (float(s.steps_per_epoch) * s.decay_every))


def linear(s: Settings, t: int) -> float:
    return s.between(1.0 - s.progress(t))


def cosine(s: Settings, t: int) -> float:
    return s.between((1.0 + math.cos(math.pi * s.progress(t))) / 2.0)


def cosine_restarts(s: Settings, t: int) -> float:
    period = 2 * s.step_size
    return s.between((1.0 + math.cos(math.pi * (t % period / period))) / 2.0)


def triangular(s: Settings, t: int) -> float:
    return s.between(_cycle(s, t)[1])


def triangular2(s: Settings, t: int) -> float:
    number, height = _cycle(s, t)
    return s.between(height * math.pow(0.5, number - 1.0))


def exp_range(s: Settings, t: int) -> float:
    return s.between(_cycle(s, t)[1] * math.pow(s.gamma, t))


def one_cycle(s: Settings, t: int) -> float:
    progress, rise = s.progress(t), 0.45
    if progress <= rise:
        return s.between(progress / rise)
    if progress <= 2.0 * rise:
        return s.between((2.0 * rise - progress) / rise)
    return s.base_lr * (1.0 - 0.99 * ((progress - 2.0 * rise) / (1.0 - 2.0 * rise)))


SCHEDULES: dict[str, Callable[[Settings, int], float]] = {
    "calr": calr,
    "constant": constant,
    "step": step,
    "exponential": exponential,
    "linear": linear,
    "cosine": cosine,
    "cosine-restarts": cosine_restarts,
    "triangular": triangular,
    "triangular2": triangular2,
    "exp-range": exp_range,
    "one-cycle": one_cycle,
}


def _base() -> type:
    try:
        from torch.optim import lr_scheduler
    except ImportError:  # the formulas need no torch
        return object
    return getattr(lr_scheduler, "LRScheduler", None) or lr_scheduler._LRScheduler


class RateScheduler(_base()):  # type: ignore[misc]
    """A scheduler of `torch.optim.lr_scheduler` for any of `SCHEDULES`; call `step()` after each update.

    The rate is a closed form of the number of updates, so its state is that number and the settings. Where groups of
    parameters have rates of their own, each is scaled alike, the largest getting the schedule's.
    """

    def __init__(self, optimizer, settings: Settings, name: str = "calr", last_epoch: int = -1) -> None:
        self.name, self.settings = name, settings
        rates = [group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]
        top = max(rates)
        self.scales = [rate / top if top > 0 else 1.0 for rate in rates]
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        rate = SCHEDULES[self.name](self.settings, self.last_epoch)
        return [scale * rate for scale in self.scales]

    _get_closed_form_lr = get_lr

    def state_dict(self) -> dict:
        state = super().state_dict()
        return {**state, "settings": asdict(self.settings)}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict({**state, "settings": Settings(**state["settings"])})


class CALR(RateScheduler):
    """`CALR(optimizer, max_lr=1e-3, base_lr=1e-6, step_size=1000, steps_per_epoch=1000, decay=0.1, decay_every=1)`."""

    def __init__(self, optimizer, max_lr: float, base_lr: float | None = None, step_size: int = 1000,
                 steps_per_epoch: int = 1000, decay: float = 0.1, decay_every: int = 1, last_epoch: int = -1) -> None:
        base_lr = max_lr * math.pow(decay, 3.0) if base_lr is None else base_lr
        settings = Settings(max_lr, base_lr, step_size, steps_per_epoch, decay, decay_every)
        super().__init__(optimizer, settings, "calr", last_epoch)
