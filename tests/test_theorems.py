"""The index of theorems names what there is, and nothing that computes a theorem is missing from it."""

import inspect
from pathlib import Path

import pytest

import rdtheory as rd
from rdtheory import theorems, verify

CHECKS = {verify.name(check) for check in verify.CHECKS}
NOTEBOOKS = {path.name[:2] for path in Path("notebooks").glob("[0-9]*.ipynb")}
# Topics whose every function computes what some theorem states.
TOPICS = [
    *(name for name in rd.__all__ if inspect.ismodule(getattr(rd, name)) and ".limits." in getattr(rd, name).__name__),
    "gaussian_channel",
    "golden_rules",
    "relu",
]


def found(path: str) -> object:
    thing = rd
    for name in path.split("."):
        thing = getattr(thing, name)
    return thing


@pytest.mark.parametrize("theorem", theorems.INDEX, ids=lambda theorem: theorem.name)
def test_what_a_theorem_names_is_there(theorem):
    assert theorem.functions and all(callable(found(path)) for path in theorem.functions)
    assert set(theorem.checks) <= CHECKS
    assert theorem.notebook in {"", *NOTEBOOKS}
    assert "\n" not in theorem.statement and theorem.source


def test_every_check_is_of_a_theorem():
    assert {check for theorem in theorems.INDEX for check in theorem.checks} == CHECKS
    assert len({theorem.name for theorem in theorems.INDEX}) == len(theorems.INDEX)


def test_every_function_of_a_theorem_is_in_the_index():
    named = {path for theorem in theorems.INDEX for path in theorem.functions}
    public = {f"{topic}.{name}" for topic in TOPICS for name in getattr(rd, topic).__all__}
    public = {path for path in public if callable(found(path)) and not inspect.isclass(found(path))}
    assert public - named == set()
