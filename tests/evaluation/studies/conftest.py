"""The recipe of a few small pictures that training is tested on."""

from tests.support.small_recipe import recipe, weights

__all__ = ["recipe", "weights"]
