"""Commands in a process of their own: several in one where they have nothing to compute, for a start takes seconds."""

import json
import os
import subprocess
import sys
from typing import NamedTuple

CODE = """
import contextlib, io, json, sys
from rdtheory import cli
found = []
for arguments in json.loads(sys.argv[1]):
    sys.argv, out, err, status = ["rdtheory", *arguments], io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as end:
            status = end.code or 0
    found.append((status, out.getvalue(), err.getvalue()))
print(json.dumps(found))
"""


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def one_after_another(*calls, **environment) -> list[Done]:
    """What each of the commands said, all run by one process."""
    calls = json.dumps([[str(argument) for argument in arguments] for arguments in calls])
    done = subprocess.run(
        [sys.executable, "-c", CODE, calls],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return [Done(*each) for each in json.loads(done.stdout)]
