"""The parts of :mod:`models.explaining` that every heat map goes through, under their earlier address."""

from models.explaining.activation import TARGET_LAYER, class_activation_map
from models.explaining.placing import upscale
from models.explaining.regions import REGION_LEVEL, region

__all__ = ["REGION_LEVEL", "TARGET_LAYER", "class_activation_map", "region", "upscale"]
