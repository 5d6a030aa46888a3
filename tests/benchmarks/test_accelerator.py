import jax

from benchmarks import accelerator


def test_a_job_has_its_time_and_the_least_it_could_take():
    dense, *others = accelerator.jobs(quick=True)
    found = accelerator.cost(dense, jax.devices("cpu")[0])
    assert 0 < found.least and 0 < found.warm < found.first
    assert [job for job in accelerator.jobs(quick=False) if job.name == dense.name] == []
    assert len({job.name for job in others}) == 5


def test_what_does_not_fit_is_named():
    def make():
        raise MemoryError("no room")

    assert accelerator.cost(accelerator.Job("", make), jax.devices("cpu")[0]) == "MemoryError: no room"
