"""Small jobs with a fault at any of their I/O calls: killed, torn, full, failing, slow, unlocked.

A sample on every run, another each day; all of them in `make soak`. `SOAK_SEED` repeats a sample.
"""

from __future__ import annotations

import errno
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timezone

import pytest
from injection import Call, Commands, Ended, Fault, Mode, place_of
from scenarios import SCENARIOS, Bench

from batchgen.errors import ExitCode

GetBench = Callable[[str], Bench]
_COURTESIES = re.compile(r"status\.json~?|\.batchgen/log\.txt|report(/.*)?")
"""What is not the record of the job: without it the job goes on, and logs a warning."""
_SLOW_MS = 20
_N_KILLS, _N_FAILS = 6, 3
"""Of each scenario, in the sample."""


@pytest.fixture(scope="session")
def bench_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GetBench]:
    """Return a function that gives the bench of a scenario, made once."""
    place = tmp_path_factory.mktemp("injection")
    commands = Commands(place)
    benches: dict[str, Bench] = {}

    def get(name: str) -> Bench:
        if name not in benches:
            benches[name] = Bench(place / name.replace(" ", "-"), commands, name)
        return benches[name]

    yield get
    commands.close()


def every_fault(bench: Bench) -> Iterator[Fault]:
    """Yield all faults of a scenario."""
    for at, call in enumerate(bench.calls, start=1):
        yield Fault(Mode.kill, at)
        if call.kind == "write":
            yield Fault(Mode.tear, at)
        for code in (errno.ENOSPC, errno.EIO):
            yield Fault(Mode.fail, at, code)
        yield Fault(Mode.fail_on, at, (errno.ENOSPC, errno.EIO, errno.EROFS)[at % 3])
    yield Fault(Mode.slow, code=_SLOW_MS)
    for code in (errno.ENOLCK, errno.ENOSYS):
        yield Fault(Mode.no_flock, code=code)


def a_sample(bench: Bench, chance: random.Random) -> list[Fault]:
    """Return kills spread over all calls of a scenario, and one or two of each other kind."""
    faults = list(every_fault(bench))
    kills = [fault for fault in faults if fault.mode is Mode.kill]
    tears = [fault for fault in faults if fault.mode is Mode.tear]
    fails = [fault for fault in faults if fault.mode in (Mode.fail, Mode.fail_on)]
    others = [fault for fault in faults if fault.mode in (Mode.slow, Mode.no_flock)]
    step = len(kills) // _N_KILLS
    return [
        *(kills[start + chance.randrange(step)] for start in range(0, _N_KILLS * step, step)),
        chance.choice(tears),
        *chance.sample(fails, _N_FAILS),
        chance.choice(others),
    ]


def reports(bench: Bench, fault: Fault) -> list[str]:
    """Play a scenario with a fault, end the job, and return in words what is not as promised."""
    ended = bench.disturb(fault)
    call = ended.calls[fault.at - 1] if 0 < fault.at <= len(ended.calls) else None
    wrong = list(_wrong_end(bench, fault, call, ended))
    then = bench.finish() + bench.problems()
    wrong += [f"then {problem}" for problem in then if not _is_without_log(problem, fault, call)]
    where = f"{bench.name}: {fault.mode.name} {errno.errorcode.get(fault.code, '-')} at {call}"
    return [f"{where} ({fault.at}): {problem}" for problem in wrong]


def _wrong_end(bench: Bench, fault: Fault, call: Call | None, ended: Ended) -> Iterator[str]:
    """Yield what is wrong with the end of the command that was disturbed."""
    if fault.mode in (Mode.kill, Mode.tear):
        if ended.code != -9 and call is not None:
            yield f"ends with {ended.code}"
        return
    if "Traceback" in ended.said:
        yield f"a traceback: {ended.said.strip().splitlines()[-1]}"
        return
    is_courtesy = fault.mode is Mode.fail and call is not None and is_for_people(call)
    if ended.code == bench.code:  # it says that all is done, so all must be
        for problem in bench.problems(halfway=True):
            # What could not be written or deleted is as it was, until the next start, and is said.
            is_said = "WARNING" in ended.said and re.match(r"status\.json|\S+crash-RUN", problem)
            if not (is_said or _is_without_log(problem, fault, call)):
                yield problem
        if is_courtesy and "WARNING" not in ended.said:
            yield "no warning"
    elif is_courtesy or fault.mode in (Mode.slow, Mode.no_flock):
        yield f"ends with {ended.code}: {ended.said.strip()}"
    elif ended.code not in (ExitCode.stopped, ExitCode.refused) or not ended.said.strip():
        yield f"ends with {ended.code}, saying {ended.said.strip()!r}"


def _is_without_log(problem: str, fault: Fault, call: Call | None) -> bool:
    """Whether a log is missing that could not be opened; a start with nothing to do writes none."""
    is_log = fault.mode is Mode.fail and call is not None and call.place == ".batchgen/log.txt"
    return is_log and problem == ".batchgen/log.txt is missing"


def is_for_people(call: Call) -> bool:
    """Whether a call is for a file that is not the record of the job."""
    return _COURTESIES.fullmatch(call.place) is not None


def seed_of_today() -> int:
    """Return `SOAK_SEED`, or the number of the day."""
    today = datetime.now(timezone.utc).date().toordinal()
    return int(os.environ.get("SOAK_SEED") or today)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_fault_at_an_io_call_changes_nothing_in_the_end(name: str, bench_of: GetBench) -> None:
    """Images, rows, failures and status are those of the undisturbed job, without debris."""
    seed = seed_of_today()
    bench = bench_of(name)
    faults = a_sample(bench, random.Random(f"{seed} {name}"))  # noqa: S311
    found = [report for fault in faults for report in reports(bench, fault)]
    assert found == [], "\n".join([f"SOAK_SEED={seed} repeats it", *found])


def test_the_shim_sees_the_making_of_every_file(bench_of: GetBench) -> None:
    """No file of a finished job came into being by a call that is not counted."""
    bench = bench_of("fresh")
    made = {call.place for call in bench.calls if call.kind in ("open", "rename", "link")}
    assert {place_of(name) for name in bench.reference.files} - made == set()
    assert {"mkdir", "write", "fsync", "unlink", "flock"} < {call.kind for call in bench.calls}


def test_a_torn_write_leaves_half_of_the_bytes(bench_of: GetBench) -> None:
    """The second half is not there when the process is dead."""
    bench = bench_of("fresh")
    at = bench.calls.index(Call("write", "README.md~")) + 1
    assert bench.disturb(Fault(Mode.tear, at)).code == -9
    (draft,) = bench.folder.root.glob(".README.md.*.tmp")
    n_torn = draft.stat().st_size
    assert bench.finish() + bench.problems() == []
    assert n_torn == len(bench.folder.card.read_bytes()) // 2


@pytest.mark.slow
def test_every_fault_at_every_io_call(bench_of: GetBench, pytestconfig: pytest.Config) -> None:
    """For `SOAK_MINUTES`, or all of them; goes on where the last one of the same seed stopped."""
    memory = pytestconfig.cache
    assert memory is not None
    last = memory.get("promises/soak", {"seed": 1, "place": 0.0})
    seed = int(os.environ.get("SOAK_SEED") or last["seed"])
    place = last["place"] if seed == last["seed"] else 0.0
    end = time.monotonic() + 60 * float(os.environ.get("SOAK_MINUTES") or "inf")
    cases = every_case(bench_of, seed)
    covered: Counter[str] = Counter()
    found: list[str] = []
    for case in [case for case in cases if case[0] > place]:
        if time.monotonic() > end:
            break
        place, name, fault = case
        found += reports(bench_of(name), fault)
        covered[f"{name}: {fault.mode.name}"] += 1
    if place == cases[-1][0]:
        seed, place = seed + 1, 0.0
    memory.set("promises/soak", {"seed": seed, "place": place})
    n_left = sum(case[0] > place for case in cases)
    _print_coverage(covered, f"{n_left} of {len(cases)} are left of seed {seed}")
    assert found == [], "\n".join(found)


def every_case(bench_of: GetBench, seed: int) -> list[tuple[float, str, Fault]]:
    """Return all faults of all scenarios in an order of the seed's, each with its place in it.

    From 0 to 1, and of its own: threads make a few calls more or fewer each time.
    """
    return sorted(
        (random.Random(f"{seed} {name} {fault}").random(), name, fault)  # noqa: S311
        for name in SCENARIOS
        for fault in every_fault(bench_of(name))
    )


def _print_coverage(covered: Counter[str], left: str) -> None:
    lines = [f"{n:5} {what}" for what, n in sorted(covered.items())]
    lines.append(f"{covered.total()} faults; {left}")
    sys.stdout.write("\n" + "\n".join(lines) + "\n")
