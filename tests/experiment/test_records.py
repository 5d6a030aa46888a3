import json
import math
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdtheory.experiment import records
from rdtheory.experiment.records import Cell, Record

SETTINGS = {"network": "lenet_300_100", "epochs": 20}
METHODS = [("prune", "magnitude"), ("prune", "jacobian"), ("obs", "jacobian")]
CELLS = records.grid("digits", METHODS, [0.1, 0.3], 2)


def measured(cell, value=0.5):
    return Record(*cell, accuracy=value, cross_entropy=1.0, kl=1 / 3, bits_per_weight=3.2, seconds=0.25)


@pytest.fixture
def path(tmp_path):
    """Three records."""
    path = tmp_path / "results.jsonl"
    records.resume(path, SETTINGS)
    for cell in CELLS[:3]:
        records.append(path, measured(cell))
    return path


def test_the_grid_is_every_method_at_every_rate_for_every_seed_seed_by_seed():
    assert len(set(CELLS)) == len(CELLS) == 12
    assert [cell.seed for cell in CELLS] == [0] * 6 + [1] * 6
    assert {(cell.scheme, cell.objective) for cell in CELLS} == set(METHODS)
    assert {cell.rate for cell in CELLS} == {0.1, 0.3}


def test_what_was_appended_is_read_back_to_the_bit(path):
    found = records.resume(path, SETTINGS)
    assert found.records == [measured(cell) for cell in CELLS[:3]]
    assert found.note == ""
    assert len(path.read_text().splitlines()) == 4


def test_only_what_has_no_record_remains(path):
    assert records.remaining(CELLS, records.resume(path, SETTINGS).records) == CELLS[3:]
    other = [cell._replace(rate=0.2) for cell in CELLS]
    assert records.remaining(other, records.resume(path, SETTINGS).records) == other


def test_a_run_cut_off_anywhere_goes_on_and_ends_with_the_same_file(path):
    whole = path.read_bytes()
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        found = records.resume(path, SETTINGS)
        ends_a_line = cut == 0 or whole[cut - 1 : cut] == b"\n"
        assert bool(found.note) != ends_a_line, cut
        assert len(found.records) == max(0, whole[:cut].count(b"\n") - 1)
        for cell in records.remaining(CELLS[:3], found.records):
            records.append(path, measured(cell))
        assert path.read_bytes() == whole


def test_what_was_dropped_is_said(path):
    with path.open("ab") as file:
        file.write(b'{"data": "dig')
    note = records.resume(path, SETTINGS).note
    assert note == f"{path}: dropped its unfinished last line of 13 bytes; it is measured again"
    assert records.resume(path, SETTINGS).note == ""  # and it is gone


def test_the_folder_of_a_new_file_is_made(tmp_path):
    assert records.resume(tmp_path / "a" / "b" / "new.jsonl", SETTINGS) == ([], "")


def test_other_settings_are_refused_and_named(path):
    with pytest.raises(ValueError, match="line 1: begun with {'epochs': 20}, now asked for {'epochs': 30}") as caught:
        records.resume(path, {**SETTINGS, "epochs": 30})
    assert str(path) in str(caught.value)
    with pytest.raises(ValueError, match="begun with {'more': None}, now asked for {'more': 1}"):
        records.resume(path, {**SETTINGS, "more": 1})


@pytest.mark.parametrize(
    "content",
    [
        b"hello",
        b"hello\n",
        b"\n",
        b"{}\n",
        b"[1]\n",
        b"\x89PNG\r\n\x1a\n\0\0",
        b'{"format": "other"}\n',
        b"[" * 99999 + b"\n",
    ],
)
def test_a_foreign_file_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "thesis.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path}.* a results file of rdtheory experiment; name another file"):
        records.resume(path, SETTINGS)
    assert path.read_bytes() == content


GOOD = measured(CELLS[5])._asdict()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", "not an object of JSON"),
        (b'{"data": "dig', "not an object of JSON"),
        (b"\xff\xfe", "not an object of JSON"),
        (b"[1, 2]", "not an object of JSON"),
        (b"\0" * 40, "not an object of JSON"),
        (json.dumps({**GOOD, "more": 1}).encode(), "the fields more are missing or unknown"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "kl"}).encode(), "the fields kl are missing or unknown"),
        (json.dumps({**GOOD, "kl": "0.1"}).encode(), "kl must be of type float, got '0.1'"),
        (json.dumps({**GOOD, "seconds": None}).encode(), "seconds must be of type float, got None"),
        (json.dumps({**GOOD, "kl": float("nan")}).encode(), "kl must be finite, got nan"),
        (json.dumps({**GOOD, "kl": 1}).replace('"kl": 1', '"kl": 1e999').encode(), "kl must be finite, got inf"),
        (json.dumps({**GOOD, "kl": 10**400}).encode(), "kl must be finite, got 1000000"),
        (json.dumps({**GOOD, "rate": -(10**400)}).encode(), "rate must be finite, got -1000000"),
        (json.dumps({**GOOD, "accuracy": 7}).encode(), "accuracy must be from 0 to 1, got 7"),
        (json.dumps({**GOOD, "accuracy": -0.1}).encode(), "accuracy must be from 0 to 1, got -0.1"),
        (json.dumps({**GOOD, "bits_per_weight": -1.0}).encode(), "bits_per_weight must be >= 0, got -1.0"),
        (json.dumps({**GOOD, "seed": 1.5}).encode(), "seed must be of type int, got 1.5"),
        (json.dumps({**GOOD, "seed": True}).encode(), "seed must be of type int, got True"),
        (json.dumps({**GOOD, "data": 3}).encode(), "data must be of type str, got 3"),
        (json.dumps(measured(CELLS[0], 0.7)._asdict()).encode(), "repeats line 2"),
    ],
)
def test_a_damaged_line_is_refused_by_file_and_number_and_nothing_is_changed(path, line, message):
    content = path.read_bytes() + line + b"\n" + json.dumps(measured(CELLS[6])._asdict()).encode()  # torn, too
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        records.resume(path, SETTINGS)
    assert f"{path}, line 5: {message}" in str(caught.value)
    assert path.read_bytes() == content


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_mutated_file_loses_no_record_in_silence(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("mutated") / "results.jsonl"
    records.resume(path, SETTINGS)
    for cell in CELLS[:3]:
        records.append(path, measured(cell))
    sound = path.read_bytes()
    where = data.draw(st.integers(0, len(sound) - 1))
    mutated = bytearray(sound)
    mutated[where : where + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    path.write_bytes(bytes(mutated))
    try:
        found = records.resume(path, SETTINGS)
    except ValueError as error:
        assert str(path) in str(error)
        assert path.read_bytes() == bytes(mutated)
        return
    assert len(found.records) == 3 or (found.note and len(found.records) == 2)


@pytest.mark.parametrize("value", ["0.5", True, 7.0])
def test_a_measurement_that_is_no_number_is_not_written(as_user, path, value):
    before = path.read_bytes()
    with pytest.raises(ValueError, match="Cell\\(data='digits'.*accuracy must be"):
        records.append(path, measured(CELLS[4], value))
    assert path.read_bytes() == before


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_null_and_the_cell_is_done(path, value):
    records.append(path, measured(CELLS[4])._replace(cross_entropy=value))
    assert json.loads(path.read_text().splitlines()[-1])["cross_entropy"] is None
    found = records.resume(path, SETTINGS).records
    assert math.isnan(found[-1].cross_entropy)
    assert found[-1]._replace(cross_entropy=1.0) == measured(CELLS[4])
    assert [records.failed(record) for record in found] == [False, False, False, True]
    assert CELLS[4] not in records.remaining(CELLS, found)


@pytest.mark.parametrize("field", ["rate", "seconds"])
def test_a_rate_or_a_time_that_is_not_finite_is_not_written(path, field):
    with pytest.raises(ValueError, match=f"{field} must be finite, got inf"):
        records.append(path, measured(CELLS[4])._replace(**{field: math.inf}))


def test_append_begins_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        records.append(tmp_path / "results.jsonl", measured(CELLS[0]))


def test_a_disk_that_takes_a_part_of_a_line_is_an_error(path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:10]))
    with pytest.raises(OSError, match="free some room"):
        records.append(path, measured(CELLS[4]))
    monkeypatch.undo()
    assert len(records.resume(path, SETTINGS).records) == 3


def test_the_lines_of_two_processes_do_not_mix(path):
    code = f"""
from rdtheory.experiment import records
import sys
for seed in range(200):
    cell = records.Cell("digits", sys.argv[1], "ü" * 50, 0.5, seed)
    records.append({str(path)!r}, records.Record(*cell, 0.5, 1.0, 0.1, 3.0, 0.1))
"""
    running = [subprocess.Popen([sys.executable, "-c", code, name]) for name in ("a", "b")]
    assert [process.wait() for process in running] == [0, 0]
    found = records.resume(path, SETTINGS)
    assert len(found.records) == 403
    assert found.records[-1].objective == "ü" * 50


def test_cells_are_the_beginning_of_records():
    assert Record._fields[: len(Cell._fields)] == Cell._fields
