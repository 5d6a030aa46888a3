"""Pictures that move on a plain page: frames behind the buttons of matplotlib's writer, and a still one in print."""

import base64
import io
import re
from collections.abc import Callable, Sequence

from IPython.display import HTML
from matplotlib import pyplot as plt
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure
from PIL import Image

LARGEST = 1_000_000  # characters of one player


def player(
    draw: Callable[[Figure, object], None],
    values: Sequence,
    *,
    still: int = 0,
    interval: int = 250,
    size: tuple[float, float] = (8.0, 3.4),
) -> HTML:
    """One frame for each of the values, drawn on an empty figure; they are shown one after another.

    Parameters
    ----------
    draw : ``draw(figure, value)``.
    values : of what moves.
    still : number of the frame that stands for all in print.
    interval : milliseconds for each frame.
    size : of the figure, inches at 80 dots.

    Raises
    ------
    ValueError : more than a megabyte.
    """
    figure = plt.figure(figsize=size, dpi=80)

    def frame(value: object) -> None:
        figure.clear()
        draw(figure, value)
        figure.subplots_adjust(left=0.09, right=0.98, bottom=0.16, top=0.9, wspace=0.3)

    with plt.rc_context({"animation.embed_limit": 10.0}):
        moving = FuncAnimation(figure, frame, frames=list(values), interval=interval, init_func=lambda: None)
        page = moving.to_jshtml(default_mode="once")
    frame(values[still])
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    plt.close(figure)
    page = re.sub(r'(?<=base64,)[^"]*', lambda picture: smaller(picture[0]), page)
    # The writer's buttons are letters of a font from the network; the style sheet has others for them.
    page = re.sub(r"<link[^>]*>", "", page)
    if len(page) > LARGEST:
        raise ValueError(f"the player has {len(page):,} characters: take fewer frames or smaller ones")
    paper = smaller(base64.b64encode(stream.getvalue()).decode())
    return HTML(f'<div class="player">{page}</div><img class="player-print" src="data:image/png;base64,{paper}">')


def smaller(picture: str) -> str:
    """The same picture in 64 colors."""
    read = Image.open(io.BytesIO(base64.b64decode(picture.replace("\\\n", "")))).convert("RGB")
    stream = io.BytesIO()
    read.quantize(64, dither=Image.Dither.NONE).save(stream, "png", optimize=True)
    return base64.b64encode(stream.getvalue()).decode()
