"""What may be added to denoising: `settings.py`: which of it, and what goes with what; `uncertainty.py`: a weight that
is learned; `augment.py`: items turned, moved and scaled; `coupling.py`: noise dealt to items; `corrupt.py`: pictures
that a model is told, made noisy or blurred."""
