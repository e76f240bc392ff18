"""How a network is run while it samples (compiled, as CUDA graphs, under autocast), and batches that fit the memory."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from ..denoiser import Denoiser, Preconditioned
from ..errors import InputError
from ..settings import Checked, Count, brief, nearest

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
OutOfMemory = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)  # torch 2.4 has only the second


def check(compile: bool, cuda_graphs: bool, autocast: str | None, device: torch.device | str) -> None:
    """Raises `InputError` for options of `network` that are unknown, or that the device has not."""
    for name, value in (("compile", compile), ("cuda_graphs", cuda_graphs)):
        if not isinstance(value, bool):
            raise InputError(f"{name}={value!r}: give true or false")
    if autocast is not None and autocast not in AUTOCAST:
        raise InputError(f"autocast={autocast!r} is unknown: choose one of {', '.join(AUTOCAST)}, or none (null)")
    if cuda_graphs and not (torch.cuda.is_available() and torch.device(device).type == "cuda"):
        raise InputError(f"cuda_graphs=True needs a model on a CUDA device; it is on {device}")


@dataclass(frozen=True)
class Execution(Checked):
    """How a sampling is run: what it gives does not depend on it, but for rounding.

    Arguments:
        batch_size: samples computed at a time; None: all.  A chunk that runs out of memory is drawn again in halves,
            and the smaller size is kept, with a warning.
        dtype: of the state; None: torch's default.
        device: None: the model's.
        store: the device that finished samples are kept on; None: the model's.
        compile, cuda_graphs, autocast: for the network of every `Preconditioned` in the denoiser, during the call: by
            torch.compile, replayed as CUDA graphs, in "bf16" or "fp16" (times, coefficients and the state keep theirs).
        processes: all processes that torch.distributed has joined call alike; each draws its share, with its own
            callback, and all return the whole.
    """

    batch_size: Count | None = None
    dtype: torch.dtype | None = None
    device: torch.device | str | None = None
    store: torch.device | str | None = None
    compile: bool = False
    cuda_graphs: bool = False
    autocast: str | None = None
    processes: bool = False


def execution_of(execution: Execution | None, short: dict) -> Execution:
    """The execution that is given, or the one that its fields in `short` make.

    Raises `InputError` for both, and for a field that it has not.
    """
    known = [field.name for field in fields(Execution)]
    if unknown := [name for name in short if name not in known]:
        raise InputError(f"{unknown[0]}={brief(short[unknown[0]])} is unknown{nearest(unknown[0], known)}", unknown[0])
    if execution is not None and short:
        raise InputError(f"execution={execution} and {', '.join(short)}: put them into the execution", "execution")
    return Execution(**short) if execution is None else execution


@contextlib.contextmanager
def network(denoiser: Denoiser, compile: bool, cuda_graphs: bool, autocast: str | None) -> Iterator[None]:
    """Runs the network of every `Preconditioned` in `denoiser` as asked, and leaves all as it was, after an error too.

    Raises `InputError` if an option is asked for and there is no such network.
    """
    if not (compile or cuda_graphs or autocast):
        yield
        return
    users = [(m, m.net) for m in denoiser.modules() if isinstance(m, Preconditioned)]
    if not users:
        raise InputError(
            f"compile={compile}, cuda_graphs={cuda_graphs}, autocast={autocast}: {type(denoiser).__name__} holds no "
            "Preconditioned, and these options are for its network"
        )
    dressed = {net: _dress(net, compile, cuda_graphs, autocast) for _, net in users}
    try:
        for user, net in users:
            user.net = dressed[net]
        yield
    finally:
        for user, net in users:
            user.net = net


def _dress(net: nn.Module, compile: bool, cuda_graphs: bool, autocast: str | None) -> nn.Module:
    if compile:
        net = torch.compile(net)
    if autocast:
        net = _Autocast(net, AUTOCAST[autocast])
    return _Graphed(net) if cuda_graphs else net


class _Autocast(nn.Module):
    def __init__(self, net: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.net, self.dtype = net, dtype

    def forward(self, x: Tensor, c: Tensor, *cond: dict[str, Tensor]) -> Tensor:
        # Each weight is used once a call, and a cast that was cached outside a CUDA graph would be missing inside.
        with torch.autocast(x.device.type, self.dtype, cache_enabled=False):
            return self.net(x, c, *cond)


class _Graphed(nn.Module):
    """The network as CUDA graphs, one for each shape and type of its inputs.

    The first call of a shape runs as it is (the warm-up; memory runs out here, if it does), the second is captured,
    and from then on the graph is replayed.  Calls that may need a gradient run as they are.
    """

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net, self.graphs = net, {}

    def forward(self, x: Tensor, c: Tensor, *cond: dict[str, Tensor]) -> Tensor:
        if torch.is_grad_enabled():
            return self.net(x, c, *cond)
        tensors = {"x": x, "c": c} | {f"cond.{k}": v for part in cond for k, v in part.items()}
        key = tuple((k, v.shape, v.dtype) for k, v in tensors.items())
        if key not in self.graphs:
            self.graphs[key] = None
            return self.net(x, c, *cond)
        if self.graphs[key] is None:
            buffers = {k: v.clone() for k, v in tensors.items()}
            own = {k.removeprefix("cond."): v for k, v in buffers.items() if k.startswith("cond.")}
            run = lambda: self.net(buffers["x"], buffers["c"], *(own for _ in cond))
            self.graphs[key] = buffers, *capture(run)
        buffers, replay, out = self.graphs[key]
        for k, v in tensors.items():
            buffers[k].copy_(v)
        replay()
        return out  # its caller makes a new tensor of it before the next replay


def capture(run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """A CUDA graph of `run`: a function that replays it, and the tensor that then holds its result."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = run()
    return graph.replay, out


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of a GPU or of the host."""
    text = str(error)
    return isinstance(error, OutOfMemory | MemoryError) or "out of memory" in text or "can't allocate memory" in text


class Fitting:
    """Draws samples in chunks of at most `size`; when one runs out of memory the size is halved, for good.

    `chunk(start, stop, callback)` draws the samples start to stop - 1.  Steps that a chunk reported to the callback
    before it failed are not reported again for its rows.
    """

    def __init__(self, denoiser: Denoiser, chunk: Callable[..., Tensor], size: int, callback: Callable | None):
        self.denoiser, self.chunk, self.size, self.callback = denoiser, chunk, size, callback

    def __call__(self, start: int, stop: int) -> list[Tensor]:
        done, pending, failed = [], [(start, stop, -1)], 0
        while pending:
            first, end, seen = pending.pop()
            middle = min(end, first + self.size)
            if middle < end:
                pending.append((middle, end, seen))
            report = None if self.callback is None else _Once(self.callback, seen)
            x = self._try(first, middle, report)
            if x is None:
                failed, self.size = max(failed, middle - first), (middle - first) // 2
                pending.append((first, middle, report.seen if report else -1))
                continue
            done.append(x)
            if failed:
                warnings.warn(f"batch_size={failed} ran out of memory: {self.size} fits, and is used", stacklevel=5)
                failed = 0
        return done

    def _try(self, start: int, stop: int, report: "_Once | None") -> Tensor | None:
        try:
            return self.chunk(start, stop, report)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if stop - start == 1:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise OutOfMemory(f"a single sample (batch_size=1) ran out of memory: {reason}") from error
        # The error is gone here, and with its traceback the tensors of the chunk that failed.
        for module in self.denoiser.modules():
            if isinstance(module, _Graphed):
                module.graphs.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None


class _Once:
    """A callback that leaves out the steps already `seen`, of which the start is number -1."""

    def __init__(self, callback: Callable, seen: int):
        self.callback, self.seen = callback, seen
        if hasattr(callback, "start"):
            self.start = self._start

    def __call__(self, step: int, *args) -> None:
        if step >= self.seen:
            self.callback(step, *args)
            self.seen = step + 1

    def _start(self, *args) -> None:
        if self.seen < 0:
            self.callback.start(*args)
            self.seen = 0
