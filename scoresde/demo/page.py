"""The page itself, in gradio: what is on it, and which function of the `Desk` answers."""

import html
from collections.abc import Iterator
from typing import Any

from ..errors import InputError
from .desk import Desk
from .given import takes_pictures

CSS = """
.gradio-container, .gradio-container > .main, main.app, .fillable {padding: 0 !important; max-width: none !important;}
.gradio-container {max-width: 1120px !important; margin: 0 auto !important; padding: 16px 12px 40px !important;}
.html-container {padding: 0 !important;}
#head h1 {font-size: 1.4rem; margin: 0;}
#head p {margin: 2px 0 0; opacity: .75; overflow-wrap: anywhere;}
.words {min-height: 1.6em; font-variant-numeric: tabular-nums; overflow-wrap: anywhere;}
.words.big {font-size: 1.1rem; font-weight: 600;}
.caption {font-size: .85rem; opacity: .75; margin-bottom: -6px;}
.picture img {image-rendering: pixelated;}
.picture img, .plot img {height: auto !important; margin: 0 auto; display: block;}
footer {display: none !important;}
"""
FONTS = ["system-ui", "-apple-system", "Segoe UI", "sans-serif"]
MONO = ["ui-monospace", "Menlo", "monospace"]
MOST_WORDS = 1000  # characters of a text
NONE = -2  # of the list of classes: gradio takes None for nothing chosen
# The canvas waits for its brush to be chosen: once is enough.
TAKE_BRUSH = """() => {
  const take = (left) => {
    const brush = document.querySelector('#draw button[aria-label="Brush"]');
    if (brush && !window.brush) { window.brush = true; brush.click(); }
    else if (!brush && left) setTimeout(() => take(left - 1), 200);
  };
  take(25);
}"""
STROKE = 28  # pixels of a brush on a canvas of 280


def page(gr, desk: Desk) -> tuple[Any, dict]:
    """The page, and what `launch` is told of its looks."""
    theme = gr.themes.Base(primary_hue="blue", neutral_hue="slate", font=FONTS, font_mono=MONO)
    with gr.Blocks(title="scoresde", analytics_enabled=False) as blocks:
        gr.HTML(f"<h1>scoresde</h1><p>{html.escape(desk.title)}</p>", elem_id="head")
        with gr.Tabs():
            with gr.Tab("Sample"):
                _sampling(gr, desk)
            with gr.Tab("Interpolate"):
                _walking(gr, desk)
            if not desk.subject.latent:
                with gr.Tab("Likelihood"):
                    _scoring(gr, desk)
    return blocks, {"theme": theme, "css": CSS}


def _words(gr, name: str, big: bool = False):
    return gr.HTML("", elem_id=name, elem_classes=["words", "big"] if big else ["words"])


def _picture(gr, desk: Desk, label: str, name: str):
    kind = "picture" if desk.subject.kind.is_image else "plot"
    return _image(gr, label, name, kind)


def _image(gr, label: str, name: str, kind: str):
    gr.HTML(html.escape(label), elem_classes=["caption"])
    look = {"show_label": False, "buttons": [], "alt_text": label, "elem_id": name, "elem_classes": [kind]}
    return gr.Image(label=label, interactive=False, format="png", **look)


def _class(gr, desk: Desk, several: bool) -> Any:
    """The list of classes, hidden where the model knows none."""
    choices = [(words, NONE if number is None else number) for words, number in desk.choices(several)]
    values = [number for _, number in choices]
    value = -1 if -1 in values else next(iter(values), NONE)
    return gr.Dropdown(choices or [("none", NONE)], value=value, label="class", visible=bool(choices))


def _text(gr, desk: Desk, name: str) -> Any:
    """A line for words, hidden where the model takes none."""
    text = desk.subject.text
    options = {"label": text or "text", "visible": text is not None, "elem_id": f"{name}-said"}
    return gr.Textbox("", lines=2, max_length=MOST_WORDS, placeholder="what they show", **options)


def _guided(gr, desk: Desk, name: str, several: bool = True) -> tuple[Any, Any, Any]:
    """The class, the words, and the scale of guidance."""
    label, said = _class(gr, desk, several), _text(gr, desk, name)
    low, high, first = desk.scales or (0.0, 1.0, 1.0)
    options = {"label": "guidance scale", "info": "1: as trained", "visible": desk.scales is not None}
    return label, said, gr.Slider(low, high, first, step=0.25, elem_id=f"{name}-scale", **options)


def _sampling(gr, desk: Desk) -> None:
    usual, most = desk.counts
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            label, said, scale = _guided(gr, desk, "sample")
            sampler = gr.Dropdown(desk.samplers, value=desk.samplers[0], label="sampler")
            steps = gr.Slider(1, 200, desk.steps, step=1, label="steps")
            n = gr.Slider(1, most, usual, step=1, label="samples")
            seed = gr.Number(0, label="seed", precision=0, minimum=0)
            with gr.Row():
                go = gr.Button("Sample", variant="primary", min_width=80, elem_id="sample-go")
                new = gr.Button("New seed", min_width=80)
        with gr.Column(scale=2, min_width=280):
            words = _words(gr, "sample-words")
            picture = _picture(gr, desk, "samples", "sample-picture")
            strip = _picture(gr, desk, "from noise to data: above x_t, below D(x_t, t)", "sample-strip")

    def draw(label, said, scale, sampler, steps, n, seed) -> Iterator[tuple]:
        whole = {"steps": int(steps), "n": int(n), "seed": _whole("seed", seed)}
        return desk.sample(label=_label(label), said=said or "", scale=float(scale), sampler=sampler, **whole)

    inputs, outputs = [label, said, scale, sampler, steps, n, seed], [picture, strip, words]
    options = {"concurrency_id": "model", "api_visibility": "private", "show_progress": "hidden"}
    go.click(_flowing(draw), inputs, outputs, **options)
    new.click(lambda seed: int(seed or 0) + 1, seed, seed, api_visibility="private").then(
        _flowing(draw), inputs, outputs, **options
    )


def _walking(gr, desk: Desk) -> None:
    held = desk.subject.data is not None and desk.subject.model.lands is None
    kinds = [("seeds of noise", "seeds"), *([("held-out items", "items")] if held else [])]
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            between = gr.Radio(kinds, value="seeds", label="between")
            with gr.Row():
                first = gr.Number(0, label="from", precision=0, minimum=0, min_width=80)
                last = gr.Number(1, label="to", precision=0, minimum=0, min_width=80)
            points = gr.Slider(2, 16, 9, step=1, label="points")
            label, said, scale = _guided(gr, desk, "walk", several=False)
            go = gr.Button("Interpolate", variant="primary", elem_id="walk-go")
        with gr.Column(scale=2, min_width=280):
            words = _words(gr, "walk-words")
            picture = _picture(gr, desk, "on the great circle between the latents", "walk-picture")

    def draw(between, first, last, points, label, said, scale) -> tuple:
        ends = {"first": _whole("from", first), "last": _whole("to", last), "points": int(points)}
        return desk.interpolate(between=between, label=_label(label), said=said or "", scale=float(scale), **ends)

    go.click(
        _told(draw, 1),
        [between, first, last, points, label, said, scale],
        [picture, words],
        concurrency_id="model",
        api_visibility="private",
    )


def _scoring(gr, desk: Desk) -> None:
    options = {"concurrency_id": "model", "api_visibility": "private"}
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            label, said = _class(gr, desk, several=False), _text(gr, desk, "score")
            ways = _ways(gr, desk)
        with gr.Column(scale=2, min_width=280):
            words = _words(gr, "score-words", big=True)
            seen = _picture(gr, desk, "as the model sees it", "score-item")
            place = _image(gr, "among held-out data", "score-place", "plot")
    told = lambda label, said: {"label": _label(label), "said": said or ""}
    for button, inputs, make in ways:
        answer = lambda label, said, *values, make=make: desk.likelihood(**told(label, said), **make(*values))
        button.click(_told(answer, 2), [label, said, *inputs], [seen, place, words], **options)


def _ways(gr, desk: Desk) -> list[tuple]:
    """Ways to give an item: (button, its inputs, what they are called)."""
    found = []
    with gr.Tabs():
        if takes_pictures(desk.subject):
            with gr.Tab("Upload"):
                picture = gr.Image(type="pil", sources=["upload"], image_mode="RGBA", label="picture", elem_id="upload")
                turn = gr.Checkbox(False, label="invert light and dark")
                go = gr.Button("Score it", variant="primary", elem_id="upload-go")
                found.append((go, [picture, turn], lambda p, v: {"picture": p, "invert": v}))
            with gr.Tab("Draw") as tab:
                brush = gr.Brush(default_size=STROKE, colors=["#000000"], color_mode="fixed")
                pad = gr.Sketchpad(
                    type="pil",
                    canvas_size=(280, 280),
                    fixed_canvas=True,
                    brush=brush,
                    layers=False,
                    label="strokes",
                    elem_id="draw",
                )
                tab.select(None, js=TAKE_BRUSH, api_visibility="private")
                turned = gr.Checkbox(desk.dark, label="invert light and dark")
                go = gr.Button("Score it", variant="primary", elem_id="draw-go")
                found.append((go, [pad, turned], lambda p, v: {"picture": (p or {}).get("composite"), "invert": v}))
        else:
            with gr.Tab("Numbers"):
                text = gr.Textbox(label="numbers of one item", lines=3, elem_id="numbers")
                go = gr.Button("Score it", variant="primary", elem_id="numbers-go")
                found.append((go, [text], lambda t: {"text": t or " "}))
            with gr.Tab("File"):
                file = gr.File(file_types=[".npy", ".csv", ".txt"], label="one item", elem_id="file")
                go = gr.Button("Score it", variant="primary", elem_id="file-go")
                found.append((go, [file], lambda f: {"file": f} if f else {"text": " "}))
        if desk.subject.data is not None:
            with gr.Tab("Held-out"):
                known = "label" if desk.subject.classes else desk.subject.text
                own = f"with its own {known}" if known else None
                number = gr.Number(0, label="item", precision=0, minimum=0, info=own)
                go = gr.Button("Score it", variant="primary", elem_id="held-go")
                found.append((go, [number], lambda i: {"number": _whole("item", i)}))
    return found


def _label(value: Any) -> int | None:
    return None if value in (None, NONE) else int(value)


def _whole(name: str, value: Any) -> int:
    if value is None or value != int(value):
        raise InputError(f"{name}: give a whole number")
    return int(value)


def _said(words: str) -> str:
    """Words for the page: no text of a folder or a file is part of its code."""
    return html.escape(words)


def _flowing(draw):
    """A function whose answers come one after the other; a mistake is its last words."""

    def flow(*values):
        try:
            for *pictures, words in draw(*values):
                yield *pictures, _said(words)
        except (InputError, FloatingPointError) as error:
            yield None, None, _said(str(error))

    return flow


def _told(draw, pictures: int):
    """A function whose mistakes are words in the place of its answer's."""

    def answer(*values):
        try:
            *found, words = draw(*values)
        except (InputError, FloatingPointError) as error:
            return (*[None] * pictures, _said(str(error)))
        return (*found, _said(words))

    return answer
