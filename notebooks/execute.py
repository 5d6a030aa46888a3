"""Execute notebooks from scratch and keep their outputs, small: python notebooks/execute.py [NOTEBOOK ...]

Pictures are stored in 256 colors. What a slider shows is not stored: a page without a kernel has the still picture in
the cell above. Needs the extra `notebooks`.
"""

import base64
import io
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

COLORS = 256
FOLDER = Path(__file__).parent


def execute(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=120, record_timing=False, resources={"metadata": {"path": path.parent}})
    client.execute()
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [] if "interact(" in cell.source else [smaller(output) for output in joined(cell.outputs)]
    nbformat.write(notebook, path)


def joined(outputs: list) -> list:
    """Printed text in one piece, however often the kernel sent some, and nothing of progress."""
    found: list = []
    for output in outputs:
        if output.get("data", {}).get("text/plain") == "":
            continue
        if output.output_type == "stream" and found and found[-1].get("name") == output.name:
            found[-1].text += output.text
        else:
            found.append(output)
    return found


def smaller(output):
    if "image/png" in output.get("data", {}):
        picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))).convert("RGB")
        stream = io.BytesIO()
        picture.quantize(COLORS, dither=Image.Dither.NONE).save(stream, "png", optimize=True)
        output.data["image/png"] = base64.b64encode(stream.getvalue()).decode() + "\n"
    return output


if __name__ == "__main__":
    every = sorted(FOLDER.glob("*.ipynb")) + sorted(FOLDER.glob("exercises/*.ipynb"))  # not Jupyter's checkpoints
    for path in [Path(name) for name in sys.argv[1:]] or every:
        start = time.perf_counter()
        execute(path)
        print(f"{path.name}: {time.perf_counter() - start:.0f} s, {path.stat().st_size / 1000:.0f} kB", flush=True)
