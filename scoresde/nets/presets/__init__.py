"""Networks in the sizes of their papers: functions that make them, each setting of which may be changed."""

from .edm2 import edm2
from .transformers import dit, jit, simple_uvit, uvit
from .unet import adm, ddpm, ddpmpp, iddpm, imagen, ncsnpp

__all__ = ["adm", "ddpm", "ddpmpp", "dit", "edm2", "iddpm", "imagen", "jit", "ncsnpp", "simple_uvit", "uvit"]
