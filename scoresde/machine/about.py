"""What a result was made on: the processor, the threads, the packages, the day."""

import datetime
import os
import platform
from pathlib import Path

import torch

FILE = "machine.json"


def about(version: str) -> dict:
    """Names and numbers of this machine, as plain data.

    Arguments:
        version: of this package.

    Returns:
        cpu and its cores, the threads of torch, gpu (None: there is none), system, the versions of Python, torch and
        scoresde, and the date with its zone.
    """
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "scoresde": version,
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _processor() -> str:
    """The name of the CPU, as far as the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    except OSError:
        pass
    return platform.processor() or platform.machine()
