"""Networks in the sizes of their papers: functions that make them, each setting of which may be changed."""

from .unet import adm, ddpm, ddpmpp, iddpm, imagen, ncsnpp

__all__ = ["adm", "ddpm", "ddpmpp", "iddpm", "imagen", "ncsnpp"]
