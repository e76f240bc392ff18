"""Pictures of shapes that are drawn by rule, with a sentence each, and a reader that tells what a picture holds.

`scene.py`: which shapes lie where, as numbers, by (seed, index); `framing.py`: how a scene is cropped of an original;
`drawing.py`: numbers to pixels; `words.py`: numbers to sentences and back; `reading.py`: pixels to numbers;
`scenes.py`: the data set.
"""
