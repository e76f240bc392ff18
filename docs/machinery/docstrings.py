"""From the docstrings of the code, plain text with Google's sections, to reStructuredText.

In them `name` is code, indented lines after an empty one are an equation or a command, and every other sign is itself:
x_0, |x|^2 and *shape are no markup.
"""

import re

SECTIONS = {"Arguments:", "Args:", "Attributes:", "Returns:", "Raises:", "Yields:", "Example:", "Examples:", "Note:"}
NAME = re.compile(r"[A-Za-z_][\w.]*(?:\(\))?")


def converted(lines: list[str]) -> list[str]:
    """The docstring, for napoleon."""
    made, section, before = [], 0, ""
    literal = None  # the indentation of the text around a block of code
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if literal is not None and line.strip() and indent <= literal:
            literal = None
            made += [""] if made[-1] else []
        if line.strip() in SECTIONS and indent == 0:
            section = 4
        elif line.strip() and indent == 0:
            section = 0
        if literal is None and line.strip() and not before.strip() and made and indent >= section + 4:
            literal = section
            made += [" " * section + "::", ""]
        if literal is not None or line.strip() in SECTIONS:
            made.append(line)
        else:
            made.append(line[:indent] + text(line[indent:], argument=section > 0 and indent == section))
        before = line
    return made


def text(line: str, argument: bool = False) -> str:
    """One line of text, its signs escaped and its names made links where there is such a name.

    Arguments:
        line: without its indentation.
        argument: whether it begins with `name:` of a section, which stays as it is.
    """
    head = ""
    if argument and (match := re.match(r"[\w*, ]+(?: \([^)]*\))?: ", line)):
        head, line = match[0], line[match.end() :]
    parts = re.split(r"(``.+?``|`[^`]+`)", line)
    made = [code(p.strip("`")) if i % 2 else escaped(p) for i, p in enumerate(parts)]
    for i in range(1, len(made), 2):  # markup that touches anything else needs an empty escape between
        made[i - 1] += "" if re.search(r"""(^|[\s'"(\[{</:-])$""", made[i - 1]) else "\\ "
        made[i + 1] = ("" if re.match(r"""$|[\s'")\]}>/:.,;!?-]""", made[i + 1]) else "\\ ") + made[i + 1]
    return head + "".join(made)


def code(words: str) -> str:
    return f":py:obj:`{words.removesuffix('()')}`" if NAME.fullmatch(words) else f"``{words}``"


def escaped(words: str) -> str:
    words = re.sub(r"([\\*|`])", r"\\\1", words)
    return re.sub(r"_(?!\w)", r"\\_", words)


def convert(app, what, name, obj, options, lines) -> None:
    lines[:] = converted(lines)


def setup(app) -> dict:
    app.connect("autodoc-process-docstring", convert, priority=400)  # before napoleon
    return {"parallel_read_safe": True, "parallel_write_safe": True}
