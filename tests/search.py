"""The site's search as its own script ranks it (Sphinx's searchtools.js), for tests: a word to pages, best first."""

import json
import re
from pathlib import Path


class Search:
    """The index of a built site.

    Titles that hold the words score up to 16 by how much of them the words are, main index entries up to 100, objects
    16 to 20, a page's words 15 in a title, 5 in its text, 7 and 2 where a longer word holds them.
    """

    def __init__(self, site: Path):
        from sphinx.search.en import SearchEnglish

        text = (site / "searchindex.js").read_text()
        self.index = json.loads(text[text.index("(") + 1 : text.rindex(")")])
        self.language = SearchEnglish({})

    def __call__(self, query: str) -> list[str]:
        """The pages that it finds, the best first, each once."""
        found = self._entries(query.lower().strip()) + self._objects(query.lower()) + self._words(query)
        order = sorted(found, key=lambda pair: -pair[1])
        return list(dict.fromkeys(self.index["docnames"][page] for page, _ in order))

    def _entries(self, query: str) -> list[tuple[int, float]]:
        titles, found = self.index["titles"], []
        for title, places in self.index["alltitles"].items():
            if query in title.lower() and len(query) >= len(title) / 2:
                score = round(15 * len(query) / len(title))
                found += [(page, score + (titles[page] == title)) for page, _ in places]
        for entry, places in self.index["indexentries"].items():
            if query in entry and len(query) >= len(entry) / 2:
                score = round(100 * len(query) / len(entry))
                found += [(page, score if main else -1) for page, _, main in places]
        return found

    def _objects(self, query: str) -> list[tuple[int, float]]:
        words, found = re.findall(r"[\w]+", query), []
        for prefix, things in self.index["objects"].items():
            for page, kind, priority, _, name in things:
                last = name.lower().rpartition(".")[2]
                whole = f"{prefix} {name} {self.index['objnames'][str(kind)][2]} {self.index['titles'][page]}".lower()
                for word in words:
                    if word in f"{prefix}.{name}".lower() and all(w in whole for w in words):
                        score = 11 if last == word else 6 if word in last else 0
                        found.append((page, score + {0: 15, 1: 5, 2: -5}.get(priority, 0)))
        return found

    def _words(self, query: str) -> list[tuple[int, float]]:
        words = [w for w in re.findall(r"[\w]+", query) if w.lower() not in self.language.stopwords]
        pages: dict[int, dict[str, int]] = {}
        for word in (self.language.stem(w.lower()) for w in words):
            for where, whole, part in (("terms", 5, 2), ("titleterms", 15, 7)):
                terms = self.index[where]
                near = {t: part for t in terms if word in t and len(word) > 2} if word not in terms else {word: whole}
                for term, score in near.items():
                    for page in [terms[term]] if isinstance(terms[term], int) else terms[term]:
                        pages.setdefault(page, {})[word] = score
        return [(page, max(scores.values())) for page, scores in pages.items() if len(scores) == len(set(words))]
