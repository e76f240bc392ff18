"""What a launcher of several processes (torchrun, accelerate launch) says of this one: the one place that asks."""

import contextlib
import os
from collections.abc import Iterator

NUMBERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
MEETING = ("MASTER_ADDR", "MASTER_PORT")
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")  # of MPI, which accelerate goes by too


def launched() -> bool:
    """Whether a launcher started this process: then it says which one this is of how many, and where they meet."""
    numbers = [os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE")]
    known = all(n.isdecimal() for n in numbers) and all(os.environ.get(name) for name in MEETING)
    return known and int(numbers[0]) < int(numbers[1])


def rank() -> int:
    """The number of this process: 0, the one that writes and speaks, without a launcher."""
    return int(os.environ["RANK"]) if launched() else 0


def started() -> int:
    """How many processes the launcher started; 1 without a launcher."""
    return int(os.environ["WORLD_SIZE"]) if launched() else 1


def claimed() -> int:
    """How many processes WORLD_SIZE speaks of, whoever set it."""
    size = os.environ.get("WORLD_SIZE", "")
    return int(size) if size.isdecimal() else 1


def left_over() -> dict[str, str]:
    """The variables of the environment that some launcher left for another process than this."""
    if launched():
        return {}
    names = [*NUMBERS, *(name for name in SIZES if os.environ.get(name, "1") != "1")]
    return {name: os.environ[name] for name in names if name in os.environ}


def ignored() -> str:
    """What to say of them, in a line; "" where there are none."""
    said = ", ".join(f"{name}={value}" for name, value in left_over().items())
    return said and (
        f"warning: {said} in the environment: ignored, as no launcher started this process "
        f"(one would set {', '.join(('RANK', 'WORLD_SIZE', *MEETING))})"
    )


def forget() -> None:
    """Takes them out of the environment, for this process and those that it starts."""
    for name in left_over():
        del os.environ[name]


@contextlib.contextmanager
def hidden() -> Iterator[None]:
    """Takes out of the environment, within the block, what a launcher left there for another process."""
    found = left_over()
    forget()
    try:
        yield
    finally:
        os.environ.update(found)
