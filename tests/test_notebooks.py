"""What is committed of the notebooks; that they run is checked by running them."""

import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
# not Jupyter's checkpoints of them
NOTEBOOKS = sorted(FOLDER.glob("[0-9]*.ipynb")) + sorted(FOLDER.glob("exercises/[0-9]*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_executed_in_order_and_without_complaint(path):
    assert path.stat().st_size < 200_000
    notebook = json.loads(path.read_text())
    assert "widgets" not in notebook["metadata"]
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert 'jax.config.update("jax_enable_x64", True)' in "".join(code[0]["source"])
    for cell in code:
        assert "execution" not in cell["metadata"]  # times change at every run
        kinds = {(output["output_type"], output.get("name")) for output in cell["outputs"]}
        assert kinds <= {("stream", "stdout"), ("display_data", None), ("execute_result", None)}
        if "interact(" in "".join(cell["source"]):
            assert not cell["outputs"]
    assert "<details>" in "".join("".join(cell["source"]) for cell in notebook["cells"])  # a folded solution


def test_the_list_of_notebooks_names_each_one():
    listed = (FOLDER / "README.md").read_text()
    assert [path.name for path in NOTEBOOKS if path.name not in listed] == []
