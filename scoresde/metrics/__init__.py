"""Distances of distributions, each with its standard error and a 95 % interval: (x, y) -> `Estimate`.

`pictures.py`: of pictures beside what they should be.
"""

from .classifier import Classifier, c2st
from .estimate import Estimate
from .features import PCA, Extractor, Flatten, Inception, Learned
from .kernels import RBF, Polynomial, energy, kid, median_rbf, mmd
from .moments import Moments, frechet, frechet_gaussians
from .near import copies, coverage, density, memorisation, nearest, neighbours, precision, recall
from .pairs import r_precision, similarity
from .pictures import diversity, psnr, ssim
from .pretrained import EfficientNetLite0
from .transport import sliced_wasserstein, wasserstein

__all__ = [
    "PCA",
    "RBF",
    "Classifier",
    "EfficientNetLite0",
    "Estimate",
    "Extractor",
    "Flatten",
    "Inception",
    "Learned",
    "Moments",
    "Polynomial",
    "c2st",
    "copies",
    "coverage",
    "density",
    "diversity",
    "energy",
    "frechet",
    "frechet_gaussians",
    "kid",
    "median_rbf",
    "memorisation",
    "mmd",
    "nearest",
    "neighbours",
    "precision",
    "psnr",
    "r_precision",
    "recall",
    "similarity",
    "sliced_wasserstein",
    "ssim",
    "wasserstein",
]
