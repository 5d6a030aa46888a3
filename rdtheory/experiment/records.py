"""The results file of an experiment: one line of JSON for each measurement, so that a run cut off goes on where it was.

The first line says what was asked for (`settings`), each other line is a `Record`. A line counts once its end is
written: what a run that was cut off left behind it is dropped, everything else that does not fit is an error. A score
that is no finite number, as of a network that compression broke, is null in the file and NaN in the `Record`.

>>> import tempfile
>>> path = Path(tempfile.mkdtemp(), "results.jsonl")
>>> wanted = grid("digits", [("prune", "magnitude"), ("prune", "jacobian")], [0.1, 0.3], seeds=2)
>>> done = resume(path, {"network": "mlp"})
>>> append(path, Record(*wanted[0], accuracy=0.4, cross_entropy=3.0, kl=2.5, bits_per_weight=3.2, seconds=0.1))
>>> len(remaining(wanted, resume(path, {"network": "mlp"}).records))
7
"""

import itertools
import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["FULL_NETWORK", "MEASURES", "Cell", "Record", "Resumed", "append", "failed", "grid", "remaining", "resume"]

FORMAT = "rdtheory experiment 1"
FULL_NETWORK = "full network"  # the objective of what is not compressed
MEASURES = ("accuracy", "cross_entropy", "kl", "bits_per_weight")  # fields of a record that compression may break


class Cell(NamedTuple):
    """One thing to measure."""

    data: str
    scheme: str  #: how it compresses
    objective: str  #: what it weighs the weights by
    rate: float  #: what was aimed at: share kept, bits per weight, or rank; `bits_per_weight` is what it came to
    seed: int


class Record(NamedTuple):
    """What was measured: the fields of its `Cell` first. Measurements are on the test part, NaN where they failed."""

    data: str
    scheme: str
    objective: str
    rate: float
    seed: int
    accuracy: float  #: share of right answers
    cross_entropy: float  #: bits per example
    kl: float  #: to the full network, bits per example
    bits_per_weight: float  #: all side information included
    seconds: float  #: time to compress


class Resumed(NamedTuple):
    """What a results file held."""

    records: list[Record]
    note: str  #: what was dropped, or empty


def grid(
    data: str, methods: Sequence[tuple[str, str]], rates: Sequence[float], seeds: int, first: int = 0
) -> list[Cell]:
    """All cells of an experiment, seed by seed, so that a run cut off has every method for the seeds it got to.

    Parameters
    ----------
    data : name of the data set.
    methods : pairs (scheme, objective).
    rates : what is aimed at.
    seeds : number of seeds.
    first : the least of them.

    Examples
    --------
    >>> [cell.seed for cell in grid("digits", [("prune", "magnitude")], [0.1, 0.3], 2)]
    [0, 0, 1, 1]
    """
    every = itertools.product(range(first, first + seeds), rates, methods)
    return [Cell(data, scheme, objective, float(rate), seed) for seed, rate, (scheme, objective) in every]


def remaining(cells: Iterable[Cell], records: Iterable[Record]) -> list[Cell]:
    """The cells that have no record yet, in their order."""
    done = {_cell(record) for record in records}
    return [cell for cell in cells if cell not in done]


def failed(record: Record) -> bool:
    """Whether some score is no finite number.

    Examples
    --------
    >>> failed(Record("digits", "prune", "magnitude", 0.1, 0, 0.1, math.inf, math.nan, 3.2, 0.1))
    True
    """
    return not all(math.isfinite(getattr(record, name)) for name in MEASURES)


def resume(path: str | os.PathLike[str], settings: Mapping[str, Any]) -> Resumed:
    """Begin a results file, or take up the one that is there; what a run cut off left unfinished is removed from it.

    Parameters
    ----------
    path : the file; its folder is made if missing.
    settings : what all of its records share and results depend on (network, epochs, version), as JSON can hold it.

    Returns
    -------
    Resumed : ``records`` in the order they were made, ``note`` about a line that was dropped.

    Raises
    ------
    ValueError : the file is no results file, was begun with other settings, or has a damaged or repeated line. The
        message names file and line, and the file is left as it is.
    """
    path = Path(path)
    header = _line({"format": FORMAT, "settings": dict(settings)})
    content = path.read_bytes() if path.exists() else b""
    lines = content.split(b"\n")
    torn = lines.pop()
    if not lines:
        # Nothing but the beginning of our own first line may be replaced.
        if not header.startswith(torn):
            raise ValueError(f"{path} is not a results file of rdtheory experiment; name another file")
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, header, keep=0)
        return Resumed([], f"{path}: its unfinished first line was written anew" if torn else "")
    _check_header(path, lines[0], header)
    records = []
    seen: dict[Cell, int] = {}
    for number, line in enumerate(lines[1:], start=2):
        record = _parse(path, number, line)
        first = seen.setdefault(_cell(record), number)
        if first != number:
            raise ValueError(f"{path}, line {number}: repeats line {first}; two runs wrote at once, delete one of both")
        records.append(record)
    if not torn:
        return Resumed(records, "")
    _write(path, b"", keep=len(content) - len(torn))
    return Resumed(records, f"{path}: dropped its unfinished last line of {len(torn)} bytes; it is measured again")


def append(path: str | os.PathLike[str], record: Record) -> None:
    """Add one record to a file that `resume` has begun, in a single write that is on disk before this returns.

    Raises
    ------
    ValueError : a number out of range, a rate or a time that is not finite, or a field of another type.
    """
    fields = {
        name: None if name in MEASURES and isinstance(value, float) and not math.isfinite(value) else value
        for name, value in record._asdict().items()
    }
    problem = _problem(fields)
    if problem:
        raise ValueError(f"record {_cell(record)}: {problem}")
    _write(Path(path), _line(fields))


def _write(path: Path, line: bytes, keep: int | None = None) -> None:
    flags = os.O_WRONLY | os.O_APPEND | (0 if keep is None else os.O_CREAT)
    descriptor = os.open(path, flags, 0o666)
    try:
        if keep is not None:
            os.ftruncate(descriptor, keep)
        # One call: the lines of two processes do not mix, and a run cut off leaves a beginning at most.
        if os.write(descriptor, line) != len(line):
            raise OSError(f"{path}: the disk took only a part of a line; free some room and run again")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _line(fields: Mapping[str, Any]) -> bytes:
    # Keys in order and no NaN: one way to write a thing, which any reader of JSON accepts.
    return json.dumps(fields, allow_nan=False, ensure_ascii=False).encode() + b"\n"


def _check_header(path: Path, line: bytes, header: bytes) -> None:
    found, wanted = _object(line), json.loads(header)
    if found is None or found.get("format") != FORMAT or not isinstance(found.get("settings"), dict):
        raise ValueError(
            f"{path}, line 1: not the beginning of a results file of rdtheory experiment; name another file"
        )
    differing = sorted(
        key
        for key in found["settings"].keys() | wanted["settings"].keys()
        if found["settings"].get(key) != wanted["settings"].get(key)
    )
    if differing:
        was, now = ({key: of["settings"].get(key) for key in differing} for of in (found, wanted))
        raise ValueError(
            f"{path}, line 1: begun with {was}, now asked for {now}; name another file, or ask for the same"
        )


def _parse(path: Path, number: int, line: bytes) -> Record:
    fields = _object(line) or {}
    problem = _problem(fields) if fields else "not an object of JSON"
    if problem:
        raise ValueError(f"{path}, line {number}: {problem}; repair or delete that line")
    known = {name: "nan" if value is None else value for name, value in fields.items()}
    return Record(**{name: kind(known[name]) for name, kind in Record.__annotations__.items()})


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):  # of JSON, or of its encoding
        return None
    return found if isinstance(found, dict) else None


def _problem(fields: Mapping[str, Any]) -> str:
    """What keeps these fields from being a record, or nothing."""
    if fields.keys() != Record.__annotations__.keys():
        wrong = sorted(fields.keys() ^ Record.__annotations__.keys())
        return f"the fields {', '.join(wrong)} are missing or unknown"
    for name, kind in Record.__annotations__.items():
        value = fields[name]
        if value is None and name in MEASURES:
            continue
        accepted = (int, float) if kind is float else kind
        if isinstance(value, bool) or not isinstance(value, accepted):
            return f"{name} must be of type {kind.__name__}, got {value!r}"
        # A whole number beyond the range of floats compares, but does not convert.
        if kind is float and not abs(value) <= sys.float_info.max:
            return f"{name} must be finite, got {value}"
        if name == "accuracy" and not 0 <= value <= 1:
            return f"accuracy must be from 0 to 1, got {value}"
        if name == "bits_per_weight" and value < 0:
            return f"bits_per_weight must be >= 0, got {value}"
    return ""


def _cell(record: Record) -> Cell:
    return Cell(*record[: len(Cell._fields)])
