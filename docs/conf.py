"""The reference: a guide whose examples are run when it is built, a page for each topic, made from the docstrings, the
notebooks as they were executed, and the commands.

Build and serve: sphinx-autobuild docs docs/_build --ignore '*/made/*'
"""

import base64
import inspect
import io
import os
import re
import shutil
from importlib import import_module
from pathlib import Path

import jax
import math_core
import nbformat
import typer
from docutils import nodes
from PIL import Image
from sphinx.roles import XRefRole
from sphinx.util import logging
from typer.cli import get_docs_for_click

import rdtheory
from rdtheory import cli, theorems

LOGGER = logging.getLogger(__name__)
HERE = Path(__file__).parent
MADE = HERE / "made"  # anew at each build: the pages of the topics and of the commands, and the notebooks
TOPICS = [*(name for name in rdtheory.__all__ if inspect.ismodule(getattr(rdtheory, name))), "results"]
MATH = math_core.LatexToMathML()

project, author = "rdtheory", "the rdtheory authors"
project_copyright = "%Y, the rdtheory authors, Apache-2.0"
version = release = rdtheory.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb", "sphinx_copybutton"]
exclude_patterns = ["_build", "jupyter_execute"]
html_math_renderer = "mathml"  # by the browser itself: no script, no network
html_static_path = ["static"]
html_css_files = ["reference.css"]
default_role = "py:obj"
smartquotes = False  # which would make one dash of the two of an option
python_maximum_signature_line_length = 100
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
add_module_names = False
napoleon_use_rtype = False
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_excludepatterns = ["made/notebooks/*", "made/notebooks/exercises/*"]  # their outputs are in the repository
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_output_stderr = "remove"  # what XLA says of a slow machine
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))  # for `players`
html_theme = "furo"
html_title = "rdtheory"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def home(topic):
    """The module of a topic."""
    return "rdtheory.results" if topic == "results" else getattr(rdtheory, topic).__name__


def group(topic):
    """The storey of the house where a topic lives."""
    _, *folders, _ = home(topic).split(".")
    return folders[0] if folders else "tools"


def make_pages(app):
    """Write what the pages are made of."""
    shutil.rmtree(MADE, ignore_errors=True)
    shutil.copytree(HERE.parent / "notebooks", MADE / "notebooks", ignore=shutil.ignore_patterns(".*", "*.png", "*.py"))
    list_notebooks(MADE / "notebooks")
    for name in ("CHANGELOG.md", "CONTRIBUTING.md"):
        shutil.copy(HERE.parent / name, MADE / name.lower())
    for topic in TOPICS:
        title = topic if topic == "results" else f"rd.{topic}"
        module = import_module(home(topic))
        lines = [title, "=" * len(title), "", f".. automodule:: {module.__name__}", "   :members:", ""]
        for name in getattr(module, "__all__", []):
            if isinstance(getattr(module, name), jax.custom_jvp):  # which Sphinx does not take for a function
                lines.append(f".. autofunction:: {module.__name__}.{name}")
        folder = MADE / group(topic)
        folder.mkdir(exist_ok=True)
        (folder / f"{topic}.rst").write_text("\n".join(lines))
    (MADE / "theorems.md").write_text(index_of_theorems())
    command = typer.main.get_command(cli.app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="rdtheory", title="The commands")
    for name, one in command.commands.items():  # what they do, which typer cuts off
        text = text.replace(f"* `{name}`: {one.get_short_help_str()}", f"* `{name}`: {one.help.splitlines()[0]}")
    (MADE / "commands.md").write_text(text)


def index_of_theorems():
    """The page of `rdtheory.theorems`, with links."""
    rows = [
        "# Theorems",
        "",
        "Every theorem that the package computes. `rdtheory verify` runs the checks; where none is named, the tests",
        "compare the function with a closed form or with another algorithm. The kind says what a check compares:",
        "*exact*, two numbers that must be equal; *bound*, one that must not exceed the other; *Monte Carlo*, a mean,",
        "within five standard errors. In Python: {rd}`theorems`.",
        "",
        "| theorem | statement | source | functions | checks | notebook | kind |",
        "|---|---|---|---|---|---|---|",
    ]
    notebooks = {path.name[:2]: path.stem for path in (MADE / "notebooks").glob("[0-9]*.ipynb")}
    for theorem in theorems.INDEX:
        functions = "<br>".join(f"{{rd}}`{function}`" for function in theorem.functions)
        checks = "<br>".join(f"`{check}`" for check in theorem.checks)
        number = theorem.notebook
        notebook = f"[{number}](notebooks/{notebooks[number]}.ipynb)" if number else ""
        statement = theorem.statement.replace("|", "\\|")
        cells = (f"**{theorem.name}**", statement, theorem.source, functions, checks, notebook, theorem.kind)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def list_notebooks(folder):
    """Each once, in the table that the repository has too, with its first picture."""
    page = folder / "README.md"
    text = page.read_text()
    for path in sorted(folder.rglob("*.ipynb")):
        outputs = (out for cell in nbformat.read(path, as_version=4).cells for out in cell.get("outputs", []))
        pictures = (out["data"]["image/png"] for out in outputs if "image/png" in out.get("data", {}))
        if picture := next(pictures, None):
            small = Image.open(io.BytesIO(base64.b64decode(picture)))
            small.thumbnail((240, 160))
            small.save(path.with_suffix(".thumb.png"))
            text = text.replace(f"| [{path.stem}]", f"| ![]({path.stem}.thumb.png) [{path.stem}]")
    page.write_text(f"{text}\n```{{toctree}}\n:hidden:\n:glob:\n\n[0-9]*\nexercises/*\n```\n")


class Name(XRefRole):
    """``{rd}`linear.rate```: a link to a public name, written as users write it."""

    def process_link(self, env, refnode, has_explicit_title, title, target):
        topic, _, name = target.partition(".")
        if target in rdtheory._VERBS:
            topic, name = rdtheory._VERBS[target], target
        module = import_module(home(topic))
        if name:
            getattr(module, name)  # so that a name that is gone is an error
        refnode["refdomain"], refnode["reftype"] = "py", "obj"
        shown = title if has_explicit_title or topic == "results" else f"rd.{title}"
        return shown, ".".join(filter(None, [module.__name__, name]))


def visit_math(self, node):
    """A formula as MathML, which browsers draw themselves."""
    block = node.tagname == "math_block"
    found = MATH.convert_with_local_state(node.astext(), displaystyle=block)
    self.body.append(f'<div class="formula">{found}</div>' if block else found)
    raise nodes.SkipNode


def as_markup(app, what, name, thing, options, lines):
    """Make of a docstring what Sphinx takes.

    What stands behind the colon of ``name : text`` is text and not a type: it goes below the name. Bars are absolute
    values and conditions, not substitutions.
    """
    if what == "attribute" and lines and lines[0].startswith("Alias for field number"):
        lines.clear()  # Python's own words, where the source has none
    if what == "attribute" and lines and ": " in lines[0]:
        lines[:1] = lines[0].split(" ", 1)  # or what is before the colon would be taken for a type
    section, math, found = "", False, []
    for place, line in enumerate(lines):
        if place + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[place + 1]):
            section = line
        math = line.startswith(".. math::") or (math and (not line.strip() or line.startswith(" ")))
        if section != "Examples" and not math and ":math:" not in line:
            line = line.replace("|", r"\|")
        entry = re.fullmatch(r"(\S.*?) : (.*)", line) if section in ("Parameters", "Returns", "Raises") else None
        found += [entry[1], f"    {entry[2]}"] if entry else [line]
    lines[:] = found


def short_types(app, what, name, thing, options, signature, returned):
    """Write the names of unions, as in the source, for what Sphinx makes of them."""
    return short(signature), short(returned)


def short(text):
    text = re.sub(r"~?(?:jaxlib\._jax|(?:jaxtyping|numpy|jax|fractions|decimal|typing)\b)\.", "", text or "")
    either = r"(\w+)\[Array, ('[^']*')\] \| \1\[ndarray, \2\](?: \| (?:number|bool|int|float|complex))*"
    text = re.sub(either, r"\1[ArrayLike, \2]", text)
    text = re.sub(r"Array \| ndarray(?: \| (?:number|bool|int|float|complex))+", "ArrayLike", text)
    return text.replace("Key[Array, ''] | UInt32[Array, '2'] | UInt32[Array, '4']", "PRNGKeyArray") or None


def short_fields(app, doctree):
    """The same for the types of fields, which Sphinx makes of annotations by itself."""
    for text in list(doctree.findall(nodes.Text)):
        if "jaxlib._jax." in text:
            text.parent.replace(text, nodes.Text(text.replace("jaxlib._jax.", "")))


def check_complete(app, env):
    """Warn of public names that no page shows."""
    shown = {target for target, *_ in env.get_domain("py").get_objects()}
    for topic in TOPICS:
        module = import_module(home(topic))
        for name in getattr(module, "__all__", []):
            if f"{module.__name__}.{name}" not in shown:
                LOGGER.warning("no page shows %s.%s", module.__name__, name)


def setup(app):
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
    app.add_role("rd", Name())
    app.connect("builder-inited", make_pages)
    app.connect("autodoc-process-docstring", as_markup, priority=100)  # before napoleon
    app.connect("autodoc-process-signature", short_types)
    app.connect("doctree-read", short_fields)
    app.connect("env-check-consistency", check_complete)
