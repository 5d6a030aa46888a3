"""How long a user waits: importing, the first certified answer, `rdtheory verify`. Run: python benchmarks/startup.py

Each figure is the median of fresh processes, run in turn so that a drift of the machine's speed falls on all of them.
"""

import statistics
import subprocess
import sys
import tempfile
import time

ANSWER = """
import jax, rdtheory
jax.config.update("jax_enable_x64", True)
print(rdtheory.rate_at([0.3, 0.7], rdtheory.distortion.hamming(2), 0.1).rate)
"""


def seconds(*command: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    with tempfile.TemporaryDirectory() as out:
        verify = ("-m", "rdtheory.cli", "verify", "--out", out)
        commands = {
            "import jax": ("-c", "import jax"),
            "import jax, rdtheory": ("-c", "import jax, rdtheory"),
            "first certified R(D)": ("-c", ANSWER),
            "rdtheory verify --quick": (*verify, "--quick"),
            "rdtheory verify": verify,
        }
        times = {name: [] for name in commands}
        for turn in range(5):
            for name, command in commands.items():
                if turn < 3 or "verify" not in name:
                    times[name].append(seconds(*command))
    for name, measured in times.items():
        low, middle, high = min(measured), statistics.median(measured), max(measured)
        print(f"{name:<26}{middle:7.2f} s   ({low:.2f} to {high:.2f}, {len(measured)} runs)")
    added = [b - a for a, b in zip(times["import jax"], times["import jax, rdtheory"], strict=True)]
    print(f"{'rdtheory adds to import':<26}{statistics.median(added):7.2f} s")


if __name__ == "__main__":
    main()
