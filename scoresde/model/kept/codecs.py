"""The codec of a model of latents, a folder within the model's: what its autoencoder's own folder has to sample by.

That of pyramids has no weights, and stands in the model's own description.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ... import making
from ...errors import InputError
from ...machine import files
from ...spaces import Pyramid

FOLDER, ABOUT = "codec", "model.json"


def save(folder: Path, codec: Any) -> None:
    """Writes the weights of an autoencoder, and what made it, below a model's folder; the description last."""
    if isinstance(codec, Pyramid):
        return
    place = Path(folder) / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    own = codec.folder
    codec.save(place)
    codec.folder = own
    files.write_json(place / ABOUT, codec.about)


def of(folder: Path, known: Mapping[str, Any], load: Callable[[Path], Any]) -> Any:
    """The autoencoder of a model of latents, by what its folder says of it: that within the folder, or until the
    training has ended the one that it is trained by; of a model of pyramids what makes them; None of other models.

    Raises `InputError` where there is none, or another.
    """
    said = known.get("codec")
    if not isinstance(said, Mapping):
        return None
    if "_target_" in said:
        return making.make(said, "codec", Pyramid, trust=False)
    there = [place for place in (folder / FOLDER, Path(str(said.get("folder")))) if (place / ABOUT).exists()]
    if not there:
        raise InputError(f"{folder} is of latents of {said.get('folder')}, which is not there: put it back")
    for place in there:  # that within is of the training before, until one that began anew has ended
        found = load(place)
        if found.weights == said.get("weights"):
            return found
    words = f"has other weights than those ({said.get('weights')}) by which {folder} was trained"
    raise InputError(f"the autoencoder {there[0]} {words}: put it back")
