"""The page on a port: on this machine alone unless more is asked for, without a request to anywhere else."""

import contextlib
import ipaddress
import os
import socket
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from ..errors import InputError
from ..settings import Checked, Range, Text, brief
from .desk import Desk

# What a page of ours may load: what this server has, and nothing of anybody else's.
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self' data: blob:; form-action 'self'; frame-ancestors 'self'"
)
SILENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "GRADIO_SHARE": "False",
}


@dataclass(frozen=True)
class Place(Checked):
    """Where the page is.

    Arguments:
        host: this machine's own, or with `public` any.
        port: 0: a free one.
        public: others may reach it.
        share: ask gradio for a public address through a server of its own, which `public` must allow too.

    Raises:
        InputError: a host that others reach, unless it is asked for in words.
    """

    host: Text = "127.0.0.1"
    port: Annotated[int, Range(0, 65535)] = 7860
    public: bool = False
    share: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        words = "whoever reaches it could use the model: say public=true if that is meant"
        if not self.public and not loopback(self.host):
            raise InputError(f"host={brief(self.host)} is open to other machines, {words}", "host")
        if self.share and not self.public:
            raise InputError(f"share=True opens the page to the internet, {words}", "share")


def loopback(host: str) -> bool:
    """Whether a host is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def gradio():
    """The package, told to send nothing.  Raises `InputError` where it is missing."""
    os.environ.update(SILENT)
    try:
        import gradio
    except ModuleNotFoundError as error:
        raise InputError(
            f"task=demo needs {error.name or 'gradio'}: pip install -c constraints-demo.txt 'scoresde[demo]'"
        ) from error
    return gradio


@contextlib.contextmanager
def served(desk: Desk, place: Place):
    """Opens the page; the value is its address.  What was uploaded is gone at the end.

    Raises `InputError` for a port that is taken, or a host that is not this machine's.
    """
    gr = gradio()
    from .page import page

    port = _free(place)
    with tempfile.TemporaryDirectory(prefix="scoresde-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        blocks, options = page(gr, desk)
        address = _launch(blocks, place, port, options)
        try:
            yield address
        finally:
            blocks.close(verbose=False)


def serve(desk: Desk, place: Place, say: Callable[[str], None]) -> None:
    """Opens the page, says where, and waits to be stopped: Ctrl-C is its ordinary end.

    Arguments:
        desk: what the page's buttons do.
        place: where it is.
        say: gets each line that there is to say.
    """
    with served(desk, place) as address:
        say(f"{desk.title}")
        say(f"{address}  (Ctrl-C ends it)")
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    say("the page is closed")


def _launch(blocks, place: Place, port: int, options: dict) -> str:
    from starlette.middleware import Middleware

    silent = {"quiet": True, "inline": False, "inbrowser": False, "prevent_thread_lock": True}
    silent |= {"footer_links": [], "ssr_mode": False, "pwa": False, "mcp_server": False, "enable_monitoring": False}
    limits = {"max_file_size": "10mb", "max_threads": 8, "state_session_capacity": 100, "share": place.share}
    blocks.queue(default_concurrency_limit=1, max_size=16)
    _, local, outside = blocks.launch(
        server_name=place.host,
        server_port=port,
        app_kwargs={"middleware": [Middleware(Policed, public=place.public)]},
        **silent,
        **limits,
        **options,
    )
    return outside or local


class Policed:
    """Sends with every page what it may load; one that is not `public` answers to this machine's own names alone, so
    that no page of the internet can have itself called by its own name (DNS rebinding)."""

    def __init__(self, app, public: bool = False):
        self.app, self.public = app, public

    async def __call__(self, scope, receive, send):
        said = dict(scope.get("headers") or ()).get(b"host", b"127.0.0.1").decode("latin-1")
        if scope["type"] == "http" and not self.public and not loopback(urlsplit(f"//{said}").hostname or ""):
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"this page is for its own machine"})
            return

        async def also(message):
            if message["type"] == "http.response.start":
                extra = {"content-security-policy": POLICY, "referrer-policy": "no-referrer"}
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in extra.items())]
            await send(message)

        await self.app(scope, receive, also if scope["type"] == "http" else send)


def _free(place: Place) -> int:
    """The port, or a free one for 0.  Raises `InputError` for one that is taken."""
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((place.host, place.port))
        except OSError as error:
            words = f"{error.strerror or error}; give another one, or 0 for any that is free"
            raise InputError(f"port={place.port} on {place.host}: {words}", "port") from error
        return one.getsockname()[1]
