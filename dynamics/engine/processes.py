"""Several processes that share a run: they meet once, learn their numbers, and then share a folder only.

JAX's own meeting ends a process that waits in vain, and ties those that have met to each other's life. It
is therefore held in a short-lived process beside this one: whatever becomes of it is one sentence here,
this process stays an ordinary JAX of one process, and the death of one does not take the others down.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable

MEETING_SECONDS = 300.0
PATIENCE_SECONDS = 15.0  # then a user is told what is being waited for
_PORT_TAKEN = ("Address already in use", "Failed to start RPC server", "Failed to add port to server")

_MEET = """
import json, sys
import jax

asked = json.loads(sys.argv[1])
jax.distributed.initialize(**asked)
met = {"index": jax.process_index(), "count": jax.process_count()}
met["visible"] = jax.config.read("jax_cuda_visible_devices")
jax.distributed.shutdown()
print(json.dumps(met))
"""


def join(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    timeout: int | float = MEETING_SECONDS,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[int, int]:
    """Wait until all processes of this run are there; returns this one's index, and how many there are.

    Call it before JAX starts: where the cluster gives each process devices of its own, only those are seen
    from then on.

    Args:
      coordinator: HOST:PORT at which process 0 can be reached; None: Slurm, Open MPI or Kubernetes tells.
      num_processes, process_id: likewise.
      timeout: seconds to wait for the others.
      say: called once with a line, if the others let wait for themselves.

    Raises: ValueError: arguments that do not fit, no cluster that tells, or not all came.
    """
    check_address(coordinator, num_processes, process_id)
    asked = {
        "coordinator_address": coordinator,
        "num_processes": num_processes,
        "process_id": process_id,
        "initialization_timeout": max(int(timeout), 1),
        "shutdown_timeout_seconds": max(int(timeout), 1),
    }
    # the processes meet on the host: a GPU belongs to the computation. One device is enough for that
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    command = [sys.executable, "-P", "-c", _MEET, json.dumps(asked)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as meeting:
        try:
            out, said = _result(meeting, 2 * timeout + 60, lambda: say(_waiting(coordinator, num_processes)))
        except subprocess.TimeoutExpired:
            meeting.kill()
            out = said = ""
        except BaseException:
            meeting.kill()
            raise
    met = json.loads(out.splitlines()[-1]) if meeting.returncode == 0 else None
    if met is None:
        if "should be defined" in said or "must be defined" in said:
            raise ValueError(
                "no cluster (Slurm, Open MPI, Kubernetes) says which process this is: give --coordinator "
                "HOST:PORT, --num-processes and --process-id"
            )
        if any(sign in said for sign in _PORT_TAKEN):
            raise ValueError(f"{coordinator} is in use already: give another port as --coordinator")
        if meeting.returncode > 0:  # an exception, whose last line says what
            reason = said.strip().splitlines()[-1] if said.strip() else "no reason given"
            raise ValueError(f"the processes could not meet: {reason}")
        at = f" at {coordinator}" if coordinator else ""
        if said and "DEADLINE_EXCEEDED" not in said:
            raise ValueError(
                f"the processes could not meet{at}: one of them ended, or another program is there"
            )
        raise ValueError(f"not all processes came together{at} within {timeout:g} seconds")
    if met["visible"] not in (None, "all"):
        import jax

        jax.config.update("jax_cuda_visible_devices", met["visible"])
        jax.config.update("jax_rocm_visible_devices", met["visible"])
    return met["index"], met["count"]


def _result(meeting, timeout, late):
    """What a process wrote; `late` is called if that takes long."""
    patience = min(PATIENCE_SECONDS, timeout)
    try:
        return meeting.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        late()
    return meeting.communicate(timeout=timeout - patience)


def _waiting(coordinator, num_processes):
    whom = f"all {num_processes} processes" if num_processes else "all processes"
    return f"waiting for {whom}" + (f" at {coordinator}" if coordinator else "")


def check_address(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Refuse what cannot be a meeting.

    Raises: ValueError: an address that is not HOST:PORT, or numbers that do not fit.
    """
    if coordinator is not None:
        host, _, port = coordinator.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise ValueError(f"--coordinator must be HOST:PORT, got {coordinator!r}")
    if num_processes is not None and num_processes < 1:
        raise ValueError(f"--num-processes must be at least 1, got {num_processes}")
    if process_id is not None and process_id < 0:
        raise ValueError(f"--process-id must be at least 0, got {process_id}")
    if num_processes is not None and process_id is not None and process_id >= num_processes:
        raise ValueError(f"--process-id must be below --num-processes {num_processes}, got {process_id}")
