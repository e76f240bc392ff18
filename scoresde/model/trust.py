"""What a model's folder from a stranger may name: nothing that is not this package's own."""

from collections.abc import Mapping
from pathlib import Path

from .. import making
from ..errors import InputError, last_line
from ..machine import files
from .description import flatten

CONFIG = "config.yaml"


def check_trust(folder: Path, known: Mapping) -> None:
    """Raises `InputError` if a folder's description or its config names what is not this package's own.

    Nothing is made, and nothing in it is resolved: the config is read as a stream of YAML's events, without aliases.
    """
    targets = [v for k, v in flatten(known).items() if k.endswith("_target_")]
    strange = [t for t in targets if not str(t).startswith("scoresde.")] + [str(p) for p in known.get("paths") or []]
    where = "model.json"
    if not strange and (folder / CONFIG).exists():
        where, strange = CONFIG, _strange(folder / CONFIG)
    if strange:
        words = "nothing of a stranger's is run; if you trust whoever made it, say trust=True (trust=true)"
        raise InputError(f"{folder / where} names {making.brief(strange[0])}, which is not of scoresde: {words}")


def _strange(path: Path) -> list[str]:
    """What a config.yaml names that is not this package's own: targets, folders of code, resolvers, aliases."""
    try:
        import yaml
    except ModuleNotFoundError:  # then nothing here reads it, either
        return []
    with files.reading(path) as file:
        text = file.read(1 << 20)
    found, last, within = [], "", False
    try:
        for event in yaml.parse(text.decode(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(event, yaml.AliasEvent):
                return [f"*{event.anchor}"]
            value, tag = getattr(event, "value", None), getattr(event, "tag", None) or ""
            bare = last == "_target_" and not str(value).startswith("scoresde.")
            listed = within or (last == "paths" and value not in ("", "null", "~"))
            if ":python" in tag or (value is not None and (bare or listed or "${" in value)):
                found.append(tag if value is None else value)
            opens = last == "paths" and isinstance(event, yaml.SequenceStartEvent)
            within = opens or (within and not isinstance(event, yaml.SequenceEndEvent))
            last = value or ""
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        words = last_line(error)[:100]
        raise InputError(f"{path} is damaged ({words}): put back a copy, or remove it: no model needs it") from None
    return found
