"""Tasks that train another network than the model's, in a folder of its own, of the same data.

`base.py`: what they share; `classifier.py`: a classifier of noisy data; `contrastive.py`: a CLIP;
`autoencoder.py`: an autoencoder, whose latents are data; `reconstructions.py`: what it gives back; `lsgm.py`: one
together with a model of its latents.
"""
