"""VAE, GAN, flow and diffusion on the same digits, in one table.

    python examples/families/compare.py                       # three seeds, a minute of a thread each
    python examples/families/compare.py --seeds 1 --steps 50  # a look at it

Each family is an `Objective` of the one loop (`scoresde.fit`), on one thread, for as many steps as take `--minutes` of
processor time: a few are timed first.  The folder `--out` has for each training its model and figures, and for all of
them table.md, figures.json and samples.png.  Said again, the command goes on with what is left.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import signal
import statistics
import sys
import time
from multiprocessing.connection import wait
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import page
import torch
from judge import Judge
from members import MEMBERS, means

import scoresde
from scoresde import InputError
from scoresde.data import digits, stack
from scoresde.machine import files
from scoresde.model.folder import step_of
from scoresde.settings import Count, Positive, check

TIMED = 24  # steps that say how long one takes


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """The settings.  Raises `InputError` for those that cannot be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/families"), help="the folder of all that is made")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each family")
    parser.add_argument("--minutes", type=float, default=1.0, help="processor time of a training")
    parser.add_argument("--steps", type=int, default=None, help="steps of each training, in place of --minutes")
    parser.add_argument("--n", type=int, default=700, help="samples that are measured")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time, a thread each")
    parser.add_argument("--families", nargs="+", choices=MEMBERS, default=list(MEMBERS))
    args = parser.parse_args(words)
    for name in ("seeds", "jobs", *(["steps"] if args.steps is not None else [])):
        check(f"--{name}", getattr(args, name), Count)
    check("--minutes", args.minutes, Positive)
    if not 50 <= args.n <= 700:
        raise InputError(f"--n {args.n}: give 50 to 700 samples, of which there are as many real ones unseen")
    return args


def planned(args: argparse.Namespace) -> dict:
    """The plan of the folder: how many steps each family is trained for, and what was asked for.

    Raises `InputError` where the folder was made with other settings.
    """
    path, asked = args.out / "plan.json", {"minutes": None if args.steps else args.minutes, "n": args.n}
    plan = files.read_json(path, {"steps": dict, "n": int}) if path.exists() else {"steps": {}, **asked}
    other = [name for name in asked if plan.get(name) != asked[name]]
    other += ["steps"] if args.steps and set(plan["steps"].values()) - {args.steps} else []
    if other:
        words = ", ".join(f"{name}={plan.get(name)}" for name in other)
        raise InputError(f"{args.out} was made with {words}: ask for the same, or give another --out")
    for name in args.families:
        if name not in plan["steps"]:
            plan["steps"][name] = args.steps or max(1, round(60 * args.minutes / seconds_per_step(name)))
            files.write_json(path, plan)
    return plan


def seconds_per_step(name: str) -> float:
    """Processor seconds that a step takes, the median of a few."""
    clock = []
    training = scoresde.Training(steps=TIMED, log_every=1, validate_every=TIMED, **MEMBERS[name].settings)
    report = lambda step, **figures: clock.append(time.process_time())
    scoresde.fit(MEMBERS[name].objective(digits()), digits(), training, None, report, "cpu", progress=False)
    return statistics.median(b - a for a, b in zip(clock[4:-1], clock[5:], strict=False))


def job(out: Path, name: str, seed: int, steps: int, n: int) -> None:
    """Trains a family and writes samples.npy and figures.json; what is there already is not made again."""
    torch.set_num_threads(1)
    folder, member, data = out / f"{name}-{seed}", MEMBERS[name], digits()
    judge = Judge.of(data, out / "judge.pt")
    torch.manual_seed(seed)
    objective = member.objective(data)
    figures = {"parameters": sum(p.numel() for p in objective.parameters()), "steps": steps}
    maker = getattr(objective.product, "decoder", objective.product)  # what samples are made by
    figures["sampling_parameters"] = sum(p.numel() for p in maker.parameters())
    training = scoresde.Training(steps=steps, seed=seed, **member.settings)
    try:
        model, seconds = trained(objective, data, training, folder)
    except FloatingPointError as error:  # a family that falls apart is a finding
        files.write_json(folder / "figures.json", figures | {"failed": str(error)})
        return
    began = time.process_time()
    raw = member.generate(model, n, seed)
    figures |= {"training_seconds": seconds, "sampling_seconds": (time.process_time() - began) * 1000 / n}
    buffer = io.BytesIO()
    np.save(buffer, raw.numpy())
    files.write(folder / "samples.npy", lambda file: file.write(buffer.getvalue()))
    test = stack(data.test, range(len(data.test)))
    figures |= member.bits(model, test, data, seed) | judge.figures(raw)
    if name == "vae":
        figures["means"] = judge.figures(means(model, n, seed))
    files.write_json(folder / "figures.json", figures)


def trained(objective, data, training: scoresde.Training, folder: Path) -> tuple:
    """The model of `fit`, and the processor seconds that its training took; of one that was cut off they are those of
    its last part, for all steps."""
    done = step_of(folder) if folder.exists() else 0
    began = time.process_time()
    model = scoresde.fit(objective, data, training, folder, device="cpu", progress=False)
    ran, seconds = training.steps - done, time.process_time() - began
    if ran > 0:
        files.write_json(folder / "clock.json", {"seconds": seconds * training.steps / ran})
    return model, files.read_json(folder / "clock.json", default={}).get("seconds")


def run(args: argparse.Namespace, plan: dict) -> None:
    """All trainings that have no figures yet, `--jobs` at a time, seed by seed."""
    every = [(name, seed) for seed in range(args.seeds) for name in args.families]
    left = [job for job in every if not (args.out / "{}-{}".format(*job) / "figures.json").exists()]
    print(f"{len(every) - len(left)} of {len(every)} trainings are there", flush=True)
    if args.jobs == 1:
        for name, seed in left:
            job(args.out, name, seed, plan["steps"][name], args.n)
            print(page.line(args.out, name, seed), flush=True)
        return
    context, running = multiprocessing.get_context("spawn"), {}
    try:
        while left or running:
            while left and len(running) < args.jobs:
                name, seed = left.pop(0)
                more = (args.out, name, seed, plan["steps"][name], args.n)
                process = context.Process(target=job, args=more, daemon=True)
                process.start()
                running[process.sentinel] = (process, name, seed)
            for sentinel in wait(list(running)):
                process, name, seed = running.pop(sentinel)
                process.join()
                if process.exitcode:
                    raise InputError(f"{name} of seed {seed} ended with exit code {process.exitcode}; say it again")
                print(page.line(args.out, name, seed), flush=True)
    finally:
        for process, *_ in running.values():  # each ends with a checkpoint
            process.terminate()
            process.join()


def main(words: list[str] | None = None) -> None:
    began, args = time.perf_counter(), arguments(words)
    torch.set_num_threads(1)
    data = digits()
    judge = Judge.of(data, args.out / "judge.pt")
    print(f"the judge names {100 * judge.extractor.accuracy:.1f} % of {len(judge.test)} held-out digits", flush=True)
    plan = planned(args)
    print("steps: " + ", ".join(f"{name} {plan['steps'][name]}" for name in args.families), flush=True)
    run(args, plan)
    real = judge.unseen[: args.n]
    table = page.write(args.out, args.families, args.seeds, plan, judge.figures(real, floor=True), real)
    print(f"\n{table}\n{args.out}: table.md, figures.json, samples.png; {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
