"""The codec of a model of latents, a folder within the model's: what its autoencoder's own folder has to sample by."""

from pathlib import Path
from typing import Any

from ...machine import files

FOLDER, ABOUT = "codec", "model.json"


def save(folder: Path, codec: Any) -> None:
    """Writes the weights of an autoencoder, and what made it, below a model's folder; the description last."""
    place = Path(folder) / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    own = codec.folder
    codec.save(place)
    codec.folder = own
    files.write_json(place / ABOUT, codec.about)


def there(folder: Path) -> Path | None:
    """The folder of the codec, if a model's folder has one."""
    place = Path(folder) / FOLDER
    return place if (place / ABOUT).exists() else None
