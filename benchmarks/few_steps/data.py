"""Every method of few steps on data: figures of its samples in 1, 2, 4 and 8 steps beside its teacher's, in one table.

    python benchmarks/few_steps/data.py TEACHER                                        # all methods, its own data
    python benchmarks/few_steps/data.py TEACHER --methods consistency dmd2 --n 2000    # some of them
    python benchmarks/few_steps/data.py TEACHER --table                                # what has been measured, again

Each method is trained by `task=distill` with its own defaults (`--train KEY=VALUE ...` for others) into OUT/METHOD, and
evaluated by `task=evaluate` (`--sample KEY=VALUE ...` says more); each figure goes into OUT/figures.json as it is
measured, so that a run that was stopped goes on.  NAME_data learns without the teacher, from data alone; of
progressive_told TEACHER is a student of method=guidance.  Distances are by the extractor of `task=evaluate`, with 95 %
intervals and the floor of real items.  Seconds a sample are those of `task=evaluate`, in batches of 256.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
METHODS = {  # and the samplers of their students, by the steps
    "consistency": "renoise",
    "consistency_training": "renoise",
    "ect": "renoise",
    "scm": "renoise",
    "meanflow": "jump",
    "shortcut": "jump",
    "ctm": "jump",
    "progressive": "jump",
    "knowledge": "jump",
    "reflow": "ddim",
    "dmd": "jump",
    "dmd2": "renoise",
    "add": "renoise",
    "lcm": "renoise",
    "scm_data": "renoise",
    "meanflow_data": "jump",
    "progressive_told": "jump",
}
ALONE = ("consistency_training", "scm_data", "meanflow_data")  # without a teacher, from data alone
ONE_STEP = ("knowledge", "dmd")  # learned from pure noise alone
FIGURES = ("frechet", "kid", "precision", "recall")
STEPS = (1, 2, 4, 8)


def run(*words: str) -> None:
    """One command of run.py; its errors end this one."""
    done = subprocess.run([sys.executable, ROOT / "run.py", "wandb=disabled", *words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def evaluated(folder: Path, n: int, *words: str) -> dict:
    """The summary of an evaluation of a model's folder, which this makes."""
    before = set(folder.glob("evaluate-*/summary.json"))
    run(f"folder={folder}", "task=evaluate", f"n={n}", f"task.metrics=[{','.join(FIGURES)}]", *words)
    found = set(folder.glob("evaluate-*/summary.json"))
    new = max(found - before or found, key=lambda path: path.stat().st_mtime)
    return json.loads(new.read_text())


def kept(summary: dict) -> dict:
    """What the table tells of an evaluation."""
    names = [f"{name}{end}" for name in FIGURES for end in ("", "_low", "_high", "_floor")]
    found = {name: summary[name] for name in names if name in summary}
    return found | {"evaluations": summary["evaluations"], "seconds": summary["seconds"] / summary["n"]}


def cell(figures: dict, name: str) -> str:
    """A value with its interval."""
    digits = 4 if name == "kid" else 2
    low, high = (figures[f"{name}_{end}"] for end in ("low", "high"))
    return f"{figures[name]:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def table(found: dict) -> str:
    """All that has been measured."""
    lines = ["| method | minutes | steps | Frechet | KID | precision | recall | ms a sample |"]
    lines += ["|---|---:|---:|---|---|---|---|---:|"]
    floor = next(iter(found.values()))["steps"]
    floor = next(iter(floor.values()))
    told = " | ".join(f"{floor[f'{name}_floor']:.{4 if name == 'kid' else 2}f}" for name in FIGURES)
    lines += [f"| real items | | | {told} | |"]
    for method, its in found.items():
        for i, (steps, figures) in enumerate(its["steps"].items()):
            minutes = f"{its['minutes']:.1f}" if "minutes" in its and not i else ""
            values = " | ".join(cell(figures, name) for name in FIGURES)
            ms = f"{1000 * figures['seconds']:.1f}"
            lines.append(f"| {method if not i else ''} | {minutes} | {steps} | {values} | {ms} |")
    return "\n".join(lines)


def brief(found: dict) -> str:
    """The Frechet distances alone, a line for each method."""
    shown = ("1", "2", "4", "8", "10", "50")
    lines = [f"| method | minutes | {' | '.join(f'{n} steps' for n in shown)} |", f"|---|---:|{'---|' * len(shown)}"]
    for method, its in found.items():
        cells = [cell(its["steps"][n], "frechet") if n in its["steps"] else "" for n in shown]
        lines.append(f"| {method} | {its['minutes']:.1f} | " if "minutes" in its else f"| {method} | | ")
        lines[-1] += " | ".join(cells) + " |"
    return "\n".join(lines)


def picture(path: Path, teacher: Path, out: Path, methods: list[str], each: int = 10) -> None:
    """The same noises by the teacher and by each student in 1, 2 and 4 steps, as far as it has learned them."""
    import matplotlib.pyplot as plt
    import torch

    import scoresde
    from scoresde.sampling import DDIM, Adams, Jump, Renoise

    rows = [("teacher, 50 steps", [(scoresde.load(teacher), Adams(steps=50))])]
    for method in methods:
        model, kinds = scoresde.load(out / method), {"jump": Jump, "renoise": Renoise, "ddim": DDIM}
        rows.append(
            (method, [(model, kinds[METHODS[method]](steps=k)) for k in learned(out / method, method, (1, 2, 4))])
        )
    figure, axes = plt.subplots(len(rows), 3, figsize=(11, 0.42 * len(rows)), squeeze=False)
    for (name, drawn), line in zip(rows, axes, strict=True):
        for (model, sampler), axis in zip(drawn, line, strict=False):
            known = {"label": list(range(each)), "guidance": 1.0} if "guidance" in model.conditions else None
            x = model.generate(each, sampler, seed=3, cond=known, progress=False)[:, 0].float()
            x = torch.nn.functional.pad(x, (1, 1, 0, 0), value=x.min())  # apart from each other
            axis.imshow(x.permute(1, 0, 2).flatten(1), cmap="gray", interpolation="nearest")
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
        for axis in line:
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_frame_on(False)
    for axis, steps in zip(axes[0], (1, 2, 4), strict=True):
        axis.set_title(f"{steps} step{'s' * (steps > 1)}", fontsize=8)
    figure.savefig(path, dpi=110, bbox_inches="tight")


def learned(folder: Path, method: str, steps: tuple[int, ...]) -> tuple[int, ...]:
    """Of these numbers of steps those that a student can take."""
    lands = (json.loads((folder / "model.json").read_text()).get("denoiser") or {}).get("lands")
    if isinstance(lands, list):
        return (len(lands) - 1,)
    return (1,) if method in ONE_STEP else steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("teacher", type=Path, help="the folder of a trained model")
    parser.add_argument("--methods", nargs="+", default=list(METHODS)[:-1], choices=list(METHODS), metavar="METHOD")
    parser.add_argument("--train", nargs="*", default=[], help="more words of task=distill: train.steps=500")
    parser.add_argument("--sample", nargs="*", default=[], help="more words of task=evaluate: given.label=all")
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("runs/few_steps"))
    parser.add_argument("--table", action="store_true", help="print what has been measured, and measure nothing")
    parser.add_argument("--brief", action="store_true", help="the table of Frechet distances alone")
    parser.add_argument("--picture", type=Path, help="a file, of the samples of these methods from the same noises")
    given = parser.parse_args()
    path = given.out / "figures.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    if not given.table:
        given.out.mkdir(parents=True, exist_ok=True)
        for name, of in [("teacher", given.teacher), *((m, given.out / m) for m in given.methods)]:
            measure(name, of, found.setdefault(name, {"steps": {}}), given, lambda: path.write_text(json.dumps(found)))
    print(brief(found) if given.brief else table(found))
    if given.picture:
        picture(given.picture, given.teacher, given.out, given.methods)


def measure(name: str, folder: Path, its: dict, given: argparse.Namespace, keep) -> None:
    """Trains one student, if it is not there, and evaluates it: what is new goes into `its`."""
    if name == "teacher":
        for steps in (4, 10, 50):
            if str(steps) not in its["steps"]:
                its["steps"][str(steps)] = kept(evaluated(folder, given.n, "sampler=adams", f"sampler.steps={steps}"))
                keep()
        return
    if "minutes" not in its:
        method = name.removesuffix("_data").removesuffix("_told")
        words = [f"method={method}", f"folder={folder}", "task=distill"]
        run(*words, *([] if name in ALONE else [f"teacher={given.teacher}"]), *given.train)
        its["minutes"] = json.loads((folder / "summary.json").read_text())["seconds"] / 60
        keep()
    for steps in learned(folder, name, STEPS):
        if str(steps) not in its["steps"]:
            words = (f"sampler={METHODS[name]}", f"sampler.steps={steps}", *given.sample)
            its["steps"][str(steps)] = kept(evaluated(folder, given.n, *words))
            keep()


if __name__ == "__main__":
    main()
