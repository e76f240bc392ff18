"""A frozen encoder of text: any encoder of the `transformers` package, whose answers are kept on disk."""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import PRETRAINED, InputError, last_line
from . import kept, places

LONGEST = 256  # tokens of a text that are read at most
BATCH, PART = 32, 1024  # texts that are encoded, and kept, at once
KEPT = torch.float16  # what vectors are rounded to, in memory and on disk alike
LARGEST = 65504.0


class TextEncoder:
    """Text to a sequence of vectors (L, E): the mean over all tokens (of CLIP its own vector), and those of the tokens.

    Texts of one length are encoded together, so that there is no padding, and rounded to half precision: what comes
    from the disk is what is computed.  A frozen encoder of text for pictures: Saharia et al. (2022, arXiv 2205.11487).

    Arguments:
        name: a folder, an installed package, or OWNER/NAME of the hub's cache: see `places.find`.
        keep: the folder for what it gave; None: that of this machine's cache.

    Raises:
        InputError: there is no such encoder here, or it cannot be read; `transformers` is not installed.
    """

    def __init__(self, name: str, keep: Path | None = None) -> None:
        self.name = name
        self.folder = places.find(name)
        self.print = places.print_of(self.folder)
        self.keep = places.cache() / "text" / self.print if keep is None else Path(keep)
        self.known = kept.read(self.keep)
        self._texts: dict[bytes, str] | None = None

    @functools.cached_property
    def size(self) -> int:
        """How many numbers a vector has, E."""
        return next((value.shape[1] for value in self.known.values()), 0) or self._width()

    def __call__(self, texts: Iterable[str]) -> list[Tensor]:
        """The vectors (L, E) of each of the `texts`, float16; none, (0, E), of the empty text."""
        texts = ["" if text.isspace() else text for text in texts]
        new = iter([text for text in dict.fromkeys(texts) if text and text not in self.known])
        while part := list(itertools.islice(new, PART)):
            found = self._computed(part)
            kept.write(self.keep, found)
            self.known |= found
            self._texts = None
        none = torch.empty(0, self.size, dtype=KEPT)
        return [self.known[text] if text else none for text in texts]

    def texts(self, rows: Tensor) -> list[str]:
        """The texts whose vectors are `rows` (n, L, E), of those that it has encoded, by the first; "" of none.

        Raises:
            InputError: vectors of a text that it has not encoded.
        """
        if self._texts is None:
            self._texts = {_key(value[0]): text for text, value in self.known.items()}
        try:
            return ["" if bool(row[0].isnan().any()) else self._texts[_key(row[0].to(KEPT))] for row in rows.cpu()]
        except KeyError as error:
            raise InputError(
                f"these are no vectors of a text that encoder={self.name} has encoded", "encoder"
            ) from error

    @torch.no_grad()
    def _computed(self, texts: Sequence[str]) -> dict[str, Tensor]:
        tokenizer, model, longest = self._model
        tokens = tokenizer(list(texts), truncation=True, max_length=longest, padding=False)["input_ids"]
        groups = defaultdict(list)
        for text, ids in zip(texts, tokens, strict=True):
            groups[len(ids)].append((text, ids))
        found = {}
        for group in groups.values():
            for start in range(0, len(group), BATCH):
                some = group[start : start + BATCH]
                ids = torch.tensor([ids for _, ids in some])
                out = model(input_ids=ids, attention_mask=torch.ones_like(ids))
                h = out.last_hidden_state
                whole = out.pooler_output if model.config.model_type.startswith("clip") else h.mean(1)
                h = torch.cat([whole[:, None], h], 1).clamp(-LARGEST, LARGEST).to(KEPT)
                found |= {text: value.clone() for (text, _), value in zip(some, h, strict=True)}
        return {text: found[text] for text in texts}

    def _width(self) -> int:
        return self._computed(["a"])["a"].shape[1]

    @functools.cached_property
    def _model(self) -> tuple[Any, Any, int]:
        """The tokenizer, the encoder, and how many tokens it takes."""
        try:
            import transformers
        except ImportError as error:
            words = f"encoder={self.name} needs the package transformers: {PRETRAINED}"
            raise InputError(words, "encoder") from error
        safe = {"trust_remote_code": False, "local_files_only": True}
        shown = transformers.utils.logging.get_verbosity()
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        try:
            config = transformers.AutoConfig.from_pretrained(self.folder, **safe)
            tokenizer = transformers.AutoTokenizer.from_pretrained(self.folder, **safe)
            kind = transformers.AutoModel
            if config.model_type.startswith("clip"):
                kind = transformers.CLIPTextModel
            elif type(config) in transformers.AutoModelForTextEncoding._model_mapping:
                kind = transformers.AutoModelForTextEncoding  # of T5 without its decoder
            model = kind.from_pretrained(self.folder, use_safetensors=True, **safe).float().eval().requires_grad_(False)
        except Exception as error:  # of transformers, tokenizers or safetensors, as it happens to be
            words = f"encoder={self.name} cannot be read ({last_line(error)[:150]}): give an encoder of transformers"
            raise InputError(words, "encoder") from error
        finally:
            transformers.utils.logging.set_verbosity(shown)
        places_ = getattr(model.config, "max_position_embeddings", None) or LONGEST
        return tokenizer, model, min(places_, tokenizer.model_max_length, LONGEST)


def _key(vector: Tensor) -> bytes:
    return vector.to(KEPT).numpy().tobytes()


@functools.lru_cache(maxsize=4)
def text_encoder(name: str) -> TextEncoder:
    """The encoder of a name, made once: see `TextEncoder`."""
    return TextEncoder(name)
