"""The compatibility matrix: SDE x sampler x corrector x shape of the data."""

from problems import SDES
from samplers import CORRECTORS, SAMPLERS

from scoresde.errors import InputError
from scoresde.sampling import PC, Sampler

SHAPES = [(2,), (1, 8, 8), (3, 4, 4, 4)]


def build(name: str, corrector: str, steps: int = 3, **settings) -> Sampler:
    """A sampler with a corrector at each of its noise levels.  Raises `InputError` where they do not go together."""
    sampler = SAMPLERS[name](steps, **settings)
    if corrector == "none":
        return sampler
    if isinstance(sampler, PC):
        return PC(steps=steps, corrector=corrector, **settings)
    return PC(steps=steps, predictor=sampler, corrector=corrector, **settings)


def cell(name: str, corrector: str) -> str:
    """What the table says: yes, or why not."""
    try:
        build(name, corrector)
    except InputError as refused:
        return f"no: {str(refused).partition(': ')[2]}"
    return "yes"


def table() -> str:
    """The table of docs/reference/compatibility.md."""
    lines = [
        "# What goes with what",
        "",
        "Made by `python docs/make.py matrix` from the list that tests/test_matrix.py runs, cell by cell, for all SDEs "
        f"({', '.join(SDES)}; the last is a user's own) and data of shapes {', '.join(map(str, SHAPES))}.",
        "All of them work alike, so the table shows samplers against correctors. What is refused is refused when the "
        "sampler is made, with the reason.",
        "",
        "| sampler | class | " + " | ".join(CORRECTORS) + " |",
        "|---|---|" + "---|" * len(CORRECTORS),
    ]
    for name, entry in SAMPLERS.items():
        settings = ", ".join(f"{k}={v}" for k, v in entry.settings.items() if k not in ("rtol", "atol"))
        cells = [cell(name, corrector) for corrector in CORRECTORS]
        kind = f"`{entry.kind.__name__}({settings})`"
        lines.append(f"| {name} | {kind} | " + " | ".join("yes" if c == "yes" else "no" for c in cells) + " |")
    reasons = sorted({c.removeprefix("no: ") for n in SAMPLERS for k in CORRECTORS if (c := cell(n, k)) != "yes"})
    lines += ["", "Why not:", "", *(f"- {reason}" for reason in reasons), ""]
    return "\n".join(lines)
