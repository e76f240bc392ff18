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

FOLDER, ABOUT, WITH = "codec", "model.json", "with"


def in_training(folder: Path, known: Mapping[str, Any]) -> None:
    """Raises `InputError` for a model that is trained together with its autoencoder, whose folder has neither yet."""
    said = known.get("codec")
    if isinstance(said, Mapping) and WITH in said:
        raise InputError(f"{folder} is still trained together with its autoencoder: let that end first")


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

    One that was trained with the model is that within the folder.  Raises `InputError` where there is none, or another.
    """
    said = known.get("codec")
    if not isinstance(said, Mapping):
        return None
    if "_target_" in said:
        return making.make(said, "codec", Pyramid, trust=False)
    if WITH in said:
        if not (folder / FOLDER / ABOUT).exists():
            raise InputError(f"{folder} has no {FOLDER}/, the autoencoder that was trained with it: put it back")
        return load(folder / FOLDER)
    there = [place for place in (folder / FOLDER, Path(str(said.get("folder")))) if (place / ABOUT).exists()]
    if not there:
        raise InputError(f"{folder} is of latents of {said.get('folder')}, which is not there: put it back")
    for place in there:  # that within is of the training before, until one that began anew has ended
        found = load(place)
        if found.weights == said.get("weights"):
            return found
    words = f"has other weights than those ({said.get('weights')}) by which {folder} was trained"
    raise InputError(f"the autoencoder {there[0]} {words}: put it back")
