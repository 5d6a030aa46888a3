import itertools
import json
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import gammaln

import rdtheory as rd
from rdtheory.experiment import compressors, records, run, trained
from tests.commands import one_after_another

FIXED = ("exact k-means", "Lloyd", "exact k-means, Jacobian", "gradient + curvature", "exact k-means + feedback")

QUICK = ("Jacobian", "Fisher", "water-filled + feedback", "weighted SVD")  # that choose


def command(*arguments, first=""):
    """As a user runs it: in a process of its own."""
    code = f"from rdtheory import cli\nfrom rdtheory.experiment import trained\n{first}\ncli.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "experiment", *arguments], capture_output=True, text=True, timeout=300
    )
    return done.returncode, " ".join(done.stdout.split()), " ".join(done.stderr.split())


@pytest.fixture(scope="module")
def digits():
    network = trained.train("digits", 0, progress=False)
    return network, compressors.compressors(network)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A whole run of the command, and what it wrote."""
    out = tmp_path_factory.mktemp("experiment") / "made"
    return command("low-rank", "--quick", "--out", out), out


def test_the_network_is_as_good_as_asked_and_the_same_for_the_same_seed(digits):
    network, _ = digits
    assert trained.scores(network, network.matrices).accuracy >= 0.96
    assert trained.scores(network, network.matrices).kl == 0
    again = trained.train("digits", 0, progress=False)
    assert all(jnp.array_equal(a, b) for a, b in zip(network.matrices, again.matrices, strict=True))


def test_test_examples_are_no_part_of_what_is_fitted_or_chosen_by(digits):
    parts = [{row.tobytes() for row in np.asarray(part.inputs)} for part in digits[0].split]
    assert all(len(a & b) <= 2 for a, b in itertools.combinations(parts, 2))  # two digits are there twice
    assert sum(len(part.labels) for part in digits[0].split) == 1797


@pytest.fixture(scope="module")
def blind(digits):
    """The compressors of a network that has no test part."""
    nothing = rd.datasets.Dataset(jnp.full((1, 64), jnp.nan), jnp.zeros(1, int))
    return compressors.compressors(digits[0]._replace(split=digits[0].split._replace(test=nothing)))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(kind, name, marks=[] if name in QUICK else [pytest.mark.long])
        for kind, names in compressors.OBJECTIVES.items()
        for name in names
    ],
)
def test_no_objective_looks_at_the_test_part(digits, blind, kind, name):
    seen, unseen = (each[kind][name](0.5 if kind != "quantization" else 2.0) for each in (digits[1], blind))
    assert seen.bits == unseen.bits
    assert all(jnp.array_equal(a, b) for a, b in zip(seen.matrices, unseen.matrices, strict=True))


def test_a_bias_is_a_row_of_its_layer(digits):
    network, _ = digits
    x = network.split.test.inputs[:5]
    a, b = map(np.asarray, network.matrices)
    hidden = np.maximum(np.asarray(x) @ a[:-1] + a[-1], 0)
    np.testing.assert_allclose(network.apply(network.matrices, x), hidden @ b[:-1] + b[-1], rtol=1e-12)


@pytest.mark.parametrize("keep", [0.3, 0.05])
def test_bits_of_pruning_are_the_kept_weights_and_which_they_are(digits, keep):
    for name in ("magnitude per layer", "Jacobian"):
        found = digits[1]["pruning"][name](keep)
        kept = [(int(jnp.sum(m != 0)), m.size) for m in found.matrices]
        assert abs(sum(k for k, _ in kept) - keep * 2410) <= 1
        masks = sum(
            np.log2(n + 1) + (gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)) / np.log(2) for k, n in kept
        )
        assert found.bits == pytest.approx(16 * sum(k for k, _ in kept) + masks, rel=1e-6)
        for matrix in found.matrices:
            np.testing.assert_array_equal(matrix, np.asarray(matrix).astype(np.float16))


def test_bits_of_codebooks_are_entropies_and_their_values(digits):
    for name, levels in [*((name, 8) for name in FIXED), ("entropy-constrained", compressors.LABELS)]:
        found = digits[1]["quantization"][name](3.0)
        least = most = 0.0
        for matrix in found.matrices:
            values, counts = np.unique(matrix, return_counts=True)
            assert len(values) <= levels
            least += np.sum(counts * np.log2(matrix.size / counts)) + 32 * len(values)
            most += len(values) * np.log2(matrix.size) + 64 + 32 * (8 if levels == 8 else 0)
        assert least <= found.bits <= least + most, name
        assert abs(found.bits / 2410 - 3) < 0.6, name


@pytest.mark.parametrize("rate", [1.5, 3.0])
def test_uniform_quantizers_meet_the_rate(digits, rate):
    for name in ("uniform", "water-filled", "water-filled + feedback"):
        found = digits[1]["quantization"][name](rate)
        assert rate - 0.05 < found.bits / 2410 <= rate, name


def test_bits_of_low_rank_are_its_factors(digits):
    found = digits[1]["low-rank"]["weighted SVD"](0.5)
    assert [np.linalg.matrix_rank(m) for m in found.matrices] == [16, 5]
    assert found.bits == 16 * (16 * (65 + 32) + 5 * (33 + 10) + 2)


def test_the_surgeon_keeps_what_it_should(digits):
    found = digits[1]["pruning"]["brain surgeon"](0.5)
    assert sum(int(jnp.sum(m != 0)) for m in found.matrices) == 1205
    assert trained.scores(digits[0], found.matrices).kl < 0.01


def test_the_full_network_is_measured_as_it_is_at_its_own_bits(digits):
    network, made = digits
    for kind in compressors.KINDS:
        found = made[kind][records.FULL_NETWORK](32.0)
        assert found.bits == 32 * 2410
        for matrix, own in zip(found.matrices, network.matrices, strict=True):
            np.testing.assert_array_equal(matrix, own)
            np.testing.assert_array_equal(matrix, np.asarray(own).astype(np.float32))  # nothing is lost in 32 bits


def test_every_kind_of_data_is_known_or_refused():
    for name in ("digits", "mnist5k", "idx:folder", "cifar:folder"):
        trained.check(name)
    for name in ("cifar", "idx:", "mnist", "digits:folder", ""):
        with pytest.raises(ValueError, match=r"data must be one of digits, mnist5k, idx:DIR, cifar:DIR"):
            trained.check(name)


def test_the_command_measures_scores_and_draws(quick):
    (status, text, errors), out = quick
    assert status == 0, errors
    wanted = run.cells(["low-rank"], "digits", 1, quick=True)
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert {tuple(line[name] for name in records.Cell._fields) for line in lines[1:]} == set(wanted)
    rows = json.loads((out / "summary.json").read_text())
    assert len(rows) == len(wanted) == len((out / "summary.csv").read_text().splitlines()) - 1
    full = next(row for row in rows if row["objective"] == records.FULL_NETWORK)
    assert (full["bits_per_weight"], full["kl"], full["paired"]) == (32, 0, 0) and full["accuracy"] >= 0.96
    assert (out / "tradeoff.png").read_bytes().startswith(b"\x89PNG")
    for cell in wanted:
        assert cell.objective in text


def test_a_run_cut_off_goes_on_and_repeats_nothing(quick, tmp_path):
    lines = (quick[1] / "results.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "results.jsonl").write_text("".join(lines[:-1]) + lines[-1][:20])
    status, _, errors = command("low-rank", "--quick", "--out", tmp_path)
    assert status == 0 and "dropped its unfinished last line" in errors
    again = (tmp_path / "results.jsonl").read_text().splitlines(keepends=True)
    assert again[:-1] == lines[:-1]
    assert {**json.loads(again[-1]), "seconds": 0} == {**json.loads(lines[-1]), "seconds": 0}
    # Nothing is left to train for.
    assert command("low-rank", "--quick", "--out", tmp_path, first="trained.train = None")[0] == 0


def test_interrupted_it_keeps_what_was_measured(quick, tmp_path):
    before = b"".join((quick[1] / "results.jsonl").read_bytes().splitlines(keepends=True)[:-1])
    (tmp_path / "results.jsonl").write_bytes(before)
    interrupt = "def train(*_, **__): raise KeyboardInterrupt\ntrained.train = train"
    status, _, errors = command("low-rank", "--quick", "--out", tmp_path, first=interrupt)
    assert status == 130 and "goes on from there" in errors
    assert (tmp_path / "results.jsonl").read_bytes() == before


def test_a_network_that_compression_breaks_is_recorded_as_failed_and_the_run_goes_on(digits, tmp_path, monkeypatch):
    network, _ = digits
    broken = tuple(jnp.full_like(w, jnp.nan) for w in network.matrices)
    methods = {"SVD": lambda rate: compressors.Compressed(broken if rate == 0.5 else network.matrices, 16.0)}
    monkeypatch.setattr(trained, "train", lambda *_, **__: network)
    monkeypatch.setattr(compressors, "compressors", lambda _: {"low-rank": methods})
    wanted = records.grid("digits", [("low-rank", "SVD")], [0.5, 0.3], 1)
    first, second = run.run(wanted, tmp_path / "results.jsonl", progress=False)
    assert records.failed(first) and not records.failed(second)
    assert np.isnan([first.cross_entropy, first.kl]).all() and second.kl == 0
    monkeypatch.setattr(trained, "train", None)  # and it is not measured again
    again = run.run(wanted, tmp_path / "results.jsonl", progress=False)
    assert [records.failed(record) for record in again] == [True, False]


@pytest.mark.parametrize("name", ["jax", "training", "rates", "labels", "surgeon dampings", "version"])
def test_what_numbers_depend_on_is_part_of_the_settings(tmp_path, name):
    path = tmp_path / "results.jsonl"
    records.resume(path, run.SETTINGS)
    assert records.resume(path, run.SETTINGS).records == []
    with pytest.raises(ValueError, match=f"begun with {{'{name}': "):
        records.resume(path, {**run.SETTINGS, name: "other"})


WRONG = {
    "KIND must be one of pruning, quantization, low-rank, all": ["pruned"],
    "data must be one of digits": ["pruning", "--data", "mnist"],
    "nowhere": ["pruning", "--data", "idx:nowhere"],
    "seeds": ["pruning", "--seeds", "0"],
    "--seed": ["pruning", "--seed", "-1"],
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What commands say that have nothing to compute: the wrong ones, one for results of other settings, and help."""
    new, other = tmp_path_factory.mktemp("none") / "new", tmp_path_factory.mktemp("other")
    header = {"format": "rdtheory experiment 1", "settings": {"version": "0"}}
    (other / "results.jsonl").write_text(json.dumps(header) + "\n")
    calls = {words: [*arguments, "--quick", "--out", new] for words, arguments in WRONG.items()}
    calls |= {"other settings": ["low-rank", "--quick", "--out", other], "help": ["--help"]}
    done = one_after_another(*(("experiment", *arguments) for arguments in calls.values()))
    return dict(zip(calls, done, strict=True))


def test_results_of_other_settings_are_not_mixed(answers):
    done = answers["other settings"]
    assert done.returncode == 2 and "name another file" in " ".join(done.stderr.split())


@pytest.mark.parametrize("words", WRONG)
def test_wrong_arguments_are_named(words, answers):
    done = answers[words]
    assert done.returncode == 2 and words in " ".join(done.stderr.split())


@pytest.mark.parametrize("data", ["digits", "mnist5k"])
def test_every_objective_is_measured_once_for_each_rate_and_seed(data):
    cells = run.cells(compressors.KINDS, data, 2)
    assert len(set(cells)) == len(cells)
    found = {(cell.scheme, cell.objective) for cell in cells}
    every = {(kind, name) for kind, names in compressors.OBJECTIVES.items() for name in names}
    every |= {(kind, records.FULL_NETWORK) for kind in compressors.KINDS}
    assert found == (every if data == "digits" else every - {("pruning", "brain surgeon")})
    for kind, rates in compressors.RATES.items():
        assert {(cell.rate, cell.seed) for cell in cells if cell.scheme == kind} == {
            (r, s) for r in (32.0, *rates) for s in (0, 1)
        }
    assert set(run.cells(compressors.KINDS, data, 1, quick=True)) < set(cells)
    assert [cell for cell in cells if cell.seed == 1] == run.cells(compressors.KINDS, data, 1, first=1)


def test_help_teaches(answers):
    text = " ".join(answers["help"].stdout.split())
    for words in ("mnist5k", "results.jsonl", "rdtheory experiment pruning", "Exit status"):
        assert words in text
