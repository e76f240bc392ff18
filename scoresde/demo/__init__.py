"""A page over a trained model: samples, the way from noise, walks and likelihoods, as functions, and in a browser.

`subject.py`: the model and what is known beside it; `wishes.py`: what a visitor may ask for; `ways.py`: samples step by
step, and walks between two; `scores.py`: likelihoods, and those of held-out data; `given.py`: an item from a picture, a
text, a file; `draw.py`: pictures in memory; `desk.py`: what each button does.  None of them needs gradio, which
`page.py` and `serve.py` import where they use it.  No Hydra here.
"""

from .desk import Desk
from .serve import Place, serve
from .subject import Subject

__all__ = ["Desk", "Place", "Subject", "serve"]
