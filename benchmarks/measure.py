"""One problem: every method in turn, several rounds, so that a drift of the machine's speed falls on all of them."""

import statistics
import time
from typing import NamedTuple

import checker
import numpy as np
import oracle
import ours
import peers
import reference
from problems import Problem, family

TOLS = (1e-6, 1e-9)
OWN_STOP_LARGEST = 512  # letters
WHOLE = 2**21  # entries of a matrix up to which the interior point on all letters may take all the steps it wants
SLOW = 20.0  # seconds; what took longer is not run again


class Row(NamedTuple):
    problem: str
    family: str
    n: int
    method: str
    clock: str  # certified, true, or own stop
    tol: float | None
    seconds: float | None  # median over rounds
    low: float | None
    high: float | None
    steps: float | None  # summed over slopes
    gap: float | None  # worst over slopes, by the checker
    error: float | None  # worst over slopes, of R + slope · D; bits
    status: str  # ok, extrapolated, not reached, not there yet, does not apply, error, WRONG
    note: str = ""


class Settings(NamedTuple):
    rounds: int
    budget: float  # seconds for one method in one round
    trace: float  # seconds to count steps, for all slopes of a problem
    reference: float  # seconds to find the truth, likewise
    own: float  # seconds for a peer with its own stopping rule in one round


def clock() -> float:
    return time.perf_counter()


def row(problem: Problem, method: str, goal: str, tol, times, **values) -> Row:
    times = [t for t in times if t is not None]
    middle = (statistics.median(times), min(times), max(times)) if times else (None, None, None)
    blank = {"steps": None, "gap": None, "error": None, "status": "ok"}
    return Row(problem.name, family(problem.name), problem.d.shape[0], method, goal, tol, *middle, **(blank | values))


class Race(NamedTuple):
    """One stepper over all slopes of a problem."""

    seconds: dict[tuple, float]  # goal -> time
    estimated: set[tuple]  # goals whose time was extrapolated
    pace: float  # seconds a step
    built: float  # seconds before the first step, at one slope


def race(stepper: peers.Stepper, problem: Problem, counts: dict[tuple, list[oracle.Count]], budget: float) -> Race:
    """Build and step until each goal's count; what the budget does not reach is extrapolated at the pace seen."""
    seconds, estimated, stepping, building, made = dict.fromkeys(counts, 0.0), set(), 0.0, 0.0, 0
    p, d = peers.on_device(problem) if stepper.on_device else (problem.p, problem.d)
    for i, slope in enumerate(problem.slopes):
        begin, share = clock(), budget / len(problem.slopes)
        state = stepper.start(p, d, slope)
        built, done = clock() - begin, 0
        spent = 0.0
        for goal in sorted(counts, key=lambda goal: counts[goal][i].steps):
            wanted = counts[goal][i].steps
            while done < wanted:
                pace = spent / done if done else 0.0
                chunk = min(2, wanted) if not done else min(wanted - done, (share - built - spent) / max(pace, 1e-9))
                if chunk < 1:
                    break
                begin = clock()
                state = stepper.advance(state, int(chunk))
                spent, done = spent + clock() - begin, done + int(chunk)
            missing = max(wanted - done, 0)
            seconds[goal] += built + spent + missing * (spent / done)
            if missing or counts[goal][i].extrapolated:
                estimated.add(goal)
        stepping, building, made = stepping + spent, building + built, made + done
    return Race(seconds, estimated, stepping / made, building / len(problem.slopes))


def run(problem: Problem, settings: Settings, say) -> tuple[list[Row], list[str], dict]:
    """Rows, failures in words, and what else the figure and the targets need."""
    slopes, k = problem.slopes, len(problem.slopes)
    say(f"{problem.name}: truth")
    bounds = [reference.lagrangian(problem.p, problem.d, s, seconds=settings.reference / k) for s in slopes]
    if problem.exact is not None:
        bounds = [(value, value) for value in problem.exact]
    elif max(high - low for low, high in bounds) > TOLS[-1] / 10:
        bounds = ours.tighten(problem, bounds)
    truth = np.array([high for _, high in bounds])
    width = float(max(high - low for low, high in bounds))
    say(f"{problem.name}: counting steps")
    share = settings.trace * (1 if k == 1 else 4)
    with peers.quickest_blas(problem.p, problem.d, slopes[0])():
        counts, traces = oracle.count_all(problem, truth, TOLS, share)

    steppers = [s for s in peers.steppers() if s.name != "dit" or np.array_equal(*problem.d.shape)]
    verbs = [name for name in ours.NAMES if ours.find(name)]
    limits = {name: _limit(name, problem, settings.budget, say) for name in verbs}
    conic = peers.available()["clarabel"] is None and problem.d.shape[0] <= peers.CLARABEL_LARGEST and k == 1
    stepping = {s.name: [] for s in steppers}
    solving = {(name, tol): [] for name in verbs + ["clarabel"] * conic for tol in TOLS}
    stopping = {s.name: [] for s in steppers if s.own_stop and problem.d.shape[0] <= OWN_STOP_LARGEST}
    laws, failures = {}, []
    for stepper in steppers:  # compiled, imported
        stepper.advance(stepper.start(problem.p, problem.d, slopes[0]), 1)
    for turn in range(settings.rounds):
        blas = peers.quickest_blas(problem.p, problem.d, slopes[0])
        jobs = [("peer", s) for s in steppers] + [("ours" if key[0] in verbs else "conic", key) for key in solving]
        jobs += [("stop", s) for s in steppers if s.name in stopping]
        jobs = jobs[turn % len(jobs) :] + jobs[: turn % len(jobs)]
        for kind, job in jobs:
            say(f"{problem.name}: round {turn + 1} of {settings.rounds}, {getattr(job, 'name', job[0])}")
            if kind == "peer":
                with blas():
                    stepping[job.name].append(race(job, problem, counts, settings.budget))
                continue
            if kind == "stop":
                stopping[job.name].append(stop(job, problem, turn, settings))
                continue
            name, tol = job
            if solving[job] and solving[job][-1] > SLOW:
                continue
            try:
                native = problem._replace(**dict(zip("pd", peers.on_device(problem), strict=True)))
                begin = clock()
                if kind == "ours":
                    answer = ours.solve(name, native, tol, limits[name])
                else:
                    answer = peers.clarabel(problem.p, problem.d, slopes[0], tol)
                solving[job].append(clock() - begin)
                laws[job] = answer
            except Exception as error:  # a peer or a solver that raises is a row, not the end of the run
                laws[job] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"

    rows = []
    for stepper in steppers:
        races = stepping[stepper.name]
        for goal, found in counts.items():
            if goal[0] == "true" and width > goal[1]:
                rows.append(row(problem, stepper.name, *goal, [], status="truth unknown"))
                continue
            guess = any(goal in r.estimated for r in races)
            rows.append(
                row(
                    problem,
                    stepper.name,
                    *goal,
                    [r.seconds[goal] for r in races],
                    steps=sum(c.steps for c in found),
                    status="extrapolated" if guess else "ok",
                    note="steps known beforehand" if stepper.name != "NumPy two-matvec" else "",
                )
            )
    for (name, tol), times in solving.items():
        answer = laws[name, tol]
        if isinstance(answer, str):
            rows.append(row(problem, name, "certified", tol, [], status="error", note=answer[:80]))
            continue
        wrong = []
        if name in ours.NAMES:
            wrong = ours.faults(problem, answer)
            failures += [f"{problem.name}, {name}, tol {tol:g}: {text}" for text in wrong]
            law, steps = answer.q, float(np.sum(answer.steps))
        else:
            law, steps = answer[None], None
        proved = [checker.dense(problem.p, problem.d, q, s) for q, s in zip(law, slopes, strict=True)]
        gap = max(c.gap for c in proved)
        error = max(c.upper - t for c, t in zip(proved, truth, strict=True))
        claimed = float(np.max(answer.gap)) if name in ours.NAMES else gap
        reached = claimed <= tol
        status = "WRONG" if wrong else "ok" if reached else "not reached"
        values = {"steps": steps, "gap": claimed, "error": error}
        rows.append(row(problem, name, "certified", tol, times, status=status, **values))
        if name not in ours.NAMES:
            met = "truth unknown" if width > tol else "ok" if error <= tol else "not reached"
            rows.append(row(problem, name, "true", tol, times, status=met, **values))
    for name in ours.NAMES:
        if name not in verbs:
            rows += [row(problem, name, "certified", tol, [], status="not there yet") for tol in TOLS]
    rows += [stopped(problem, name, runs, truth) for name, runs in stopping.items()]
    paces = {s.name: statistics.median(r.pace for r in stepping[s.name]) for s in steppers}
    built = {s.name: statistics.median(r.built for r in stepping[s.name]) for s in steppers}
    more = {"width": width, "paces": paces, "built": built, "trace": traces[0], "truth": truth.tolist()}
    return rows, failures, more


def _limit(name: str, problem: Problem, budget: float, say) -> int | None:
    """Compiles, and for what takes steps without end finds how many a round affords."""
    say(f"{problem.name}: compiling {name}")
    whole = name == "rd.interior_point" and problem.d.size > WHOLE
    try:
        if name != "rd.blahut_arimoto" and not whole:
            for tol in TOLS:
                ours.solve(name, problem, tol)
            return None
        ours.solve(name, problem, 1e-15, 2)
        steps, taken = 10, 0.0
        while taken < budget / 8 and steps < 10**7:
            begin = clock()
            ours.solve(name, problem, 1e-15, steps)
            taken = clock() - begin
            steps *= 8
        return max(10, int(steps / 8 * budget / taken))
    except Exception:  # told by the timed call
        return None


def stop(stepper: peers.Stepper, problem: Problem, turn: int, settings: Settings):
    """As its users run it, on some slopes of a curve: (seconds for all, whether extrapolated, {slope: law})."""
    chosen = problem.slopes[turn % settings.rounds :: settings.rounds] if len(problem.slopes) > 1 else problem.slopes
    options, scale, laws, spent = {}, 1.0, {}, 0.0
    if stepper.name == "dit":
        begin = clock()
        stepper.own_stop(problem.p, problem.d, chosen[len(chosen) // 2], restarts=1)
        once = clock() - begin
        if 100 * once * len(chosen) > settings.own:
            restarts = max(2, min(10, int(settings.own / once / 5)))
            options, scale = {"restarts": restarts}, 100 / restarts
            chosen = chosen[:: 1 + len(chosen) // 5]
    for slope in chosen:
        begin = clock()
        laws[slope] = stepper.own_stop(problem.p, problem.d, slope, **options)
        spent += clock() - begin
        if spent > settings.own:
            break
    whole = len(laws) * settings.rounds >= len(problem.slopes) or len(problem.slopes) == 1
    return spent * scale * len(problem.slopes) / len(laws), scale > 1 or not whole, laws


def stopped(problem: Problem, name: str, runs: list, truth: np.ndarray) -> Row:
    """What a peer's own stopping rule leaves, at the worst slope."""
    gap = error = -np.inf
    broken = 0
    for _, _, laws in runs:
        for slope, q in laws.items():
            if not abs(q.sum() - 1) < 1e-6:
                broken += 1
                continue
            proved = checker.dense(problem.p, problem.d, q, slope)
            gap = max(gap, proved.gap)
            error = max(error, proved.upper - truth[np.flatnonzero(problem.slopes == slope)[0]])
    status = "invalid" if broken else "extrapolated" if any(guess for _, guess, _ in runs) else "ok"
    note = f"{broken} answers are not probabilities" if broken else ""
    values = {"gap": gap, "error": error} if np.isfinite(gap) else {}
    return row(problem, name, "own stop", None, [seconds for seconds, _, _ in runs], status=status, note=note, **values)
