"""The recipe of a few small pictures that training is tested on."""

from tests.training.conftest import recipe, weights

__all__ = ["recipe", "weights"]
