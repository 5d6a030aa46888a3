"""The reference: a page for each topic, made from the docstrings, and the notebooks as they were executed.

Build and serve: sphinx-autobuild docs docs/_build --ignore '*/made/*'
"""

import inspect
import re
import shutil
from importlib import import_module
from pathlib import Path

import jax
from sphinx.util import logging

import rdtheory

LOGGER = logging.getLogger(__name__)
HERE = Path(__file__).parent
MADE = HERE / "made"  # anew at each build: the pages of the topics, and the notebooks
TOPICS = [*(name for name in rdtheory.__all__ if inspect.ismodule(getattr(rdtheory, name))), "results"]

project, author = "rdtheory", "the rdtheory authors"
version = release = rdtheory.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax", "myst_nb", "sphinx_copybutton"]
exclude_patterns = ["_build"]
default_role = "py:obj"
python_maximum_signature_line_length = 100
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
add_module_names = False
napoleon_use_rtype = False
myst_enable_extensions = ["dollarmath"]
nb_execution_mode = "off"
html_theme = "furo"
html_title = "rdtheory"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def home(topic):
    """The module of a topic."""
    return "rdtheory.results" if topic == "results" else getattr(rdtheory, topic).__name__


def make_pages(app):
    """Write what the pages are made of."""
    shutil.rmtree(MADE, ignore_errors=True)
    (MADE / "topics").mkdir(parents=True)
    shutil.copytree(HERE.parent / "notebooks", MADE / "notebooks", ignore=shutil.ignore_patterns(".*", "*.png"))
    for topic in TOPICS:
        title = topic if topic == "results" else f"rd.{topic}"
        module = import_module(home(topic))
        lines = [title, "=" * len(title), "", f".. automodule:: {module.__name__}", "   :members:", ""]
        for name in getattr(module, "__all__", []):
            if isinstance(getattr(module, name), jax.custom_jvp):  # which Sphinx does not take for a function
                lines.append(f".. autofunction:: {module.__name__}.{name}")
        (MADE / "topics" / f"{topic}.rst").write_text("\n".join(lines))


def as_markup(app, what, name, thing, options, lines):
    """Make of a docstring what Sphinx takes.

    What stands behind the colon of ``name : text`` is text and not a type: it goes below the name. Bars are absolute
    values and conditions, not substitutions.
    """
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
    """Write ``Float[ArrayLike, "n"]`` for the unions that Sphinx makes of it."""

    def short(text):
        text = (text or "").replace("jaxlib._jax.Array", "Array")
        either = r"(\w+)\[Array, ('[^']*')\] \| \1\[ndarray, \2\](?: \| (?:number|bool|int|float|complex))*"
        return re.sub(either, r"\1[ArrayLike, \2]", text) or None

    return short(signature), short(returned)


def check_complete(app, env):
    """Warn of public names that no page shows."""
    shown = {target for target, *_ in env.get_domain("py").get_objects()}
    for topic in TOPICS:
        module = import_module(home(topic))
        for name in getattr(module, "__all__", []):
            if f"{module.__name__}.{name}" not in shown:
                LOGGER.warning("no page shows %s.%s", module.__name__, name)


def setup(app):
    app.connect("builder-inited", make_pages)
    app.connect("autodoc-process-docstring", as_markup, priority=100)  # before napoleon
    app.connect("autodoc-process-signature", short_types)
    app.connect("env-check-consistency", check_complete)
