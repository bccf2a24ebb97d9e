# SPDX-License-Identifier: MIT
"""tests/lab/ending.py: a signal ends a program in order, wherever it arrives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests import ROOT

PREFIX = """
import os, signal, sys
from tests.lab.ending import Ended, end_in_order, undisturbed
from tests.lab.wait import until

end_in_order()

def tell():
    os.kill(os.getpid(), {number})

def wait(seconds=50):
    until(lambda: False, "a signal", seconds)
"""


def program(body: str, number: int = signal.SIGTERM) -> str:
    return PREFIX.format(number=int(number)) + textwrap.dedent(body)


def run(
    body: str, number: int = signal.SIGTERM, interpreter: tuple[str, ...] = (sys.executable, "-c")
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*interpreter, program(body, number)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_with_is_left(number: int) -> None:
    done = run("try: tell(); wait()\nfinally: print('left')", number)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "left\n", "")


def test_nothing_is_raised_before_a_wait() -> None:
    done = run("tell()\nfor _ in range(1000): print(end='.')\nprint()\nwait()\nprint('never')")
    assert (done.returncode, done.stdout, done.stderr) == (143, "." * 1000 + "\n", "")


SWALLOWED = {
    "finalizer": """
        class Thing:
            def __del__(self):
                tell()
                print("swallows")
        thing = Thing()
        del thing
        """,
    "weak reference's callback": """
        import weakref
        class Thing: pass
        def callback(reference):
            tell()
            print("swallows")
        thing = Thing()
        reference = weakref.ref(thing, callback)
        del thing
        """,
    "generator that is dropped": """
        def generate():
            try:
                yield
            finally:
                tell()
                print("swallows")
        generator = generate()
        next(generator)
        del generator
        """,
}


@pytest.mark.parametrize("place", SWALLOWED)
def test_not_lost_where_python_drops_exceptions(place: str) -> None:
    done = run(f"{textwrap.dedent(SWALLOWED[place])}\nwait()")
    assert (done.returncode, done.stdout, done.stderr) == (143, "swallows\n", "")


def test_nohup_keeps_a_hang_up_away() -> None:
    code = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    code += (
        PREFIX.format(number=int(signal.SIGHUP)) + "tell()\nuntil(lambda: True, '')\nprint('done')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


IN_THE_TRACER = """
import weakref
get = weakref.WeakKeyDictionary.__getitem__

def look_up(self, key):
    global told
    if not told:
        told = True
        tell()
        print("swallows")
    return get(self, key)

def work(): pass

weakref.WeakKeyDictionary.__getitem__ = look_up
told = False
work()
wait()
"""


def test_not_lost_in_the_tracer_of_coverage(tmp_path: Path) -> None:
    """The C tracer asks this dictionary for the greenlet on each call, and drops its exceptions."""
    pytest.importorskip("coverage.tracer", reason="coverage without its C tracer")
    script = tmp_path / "script.py"
    script.write_text(program(IN_THE_TRACER))
    tool = [sys.executable, "-m", "coverage", "run", "--rcfile=/dev/null", "--concurrency=gevent"]
    environ = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
    done = subprocess.run(
        [*tool, f"--data-file={tmp_path}/data", f"--include={script}", str(script)],
        env={**environ, "PYTHONPATH": str(ROOT), "COVERAGE_CORE": "ctrace"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, "swallows\n", "")


def test_raised_again_when_another_exception_replaces_it() -> None:
    done = run(
        """
        try:
            try: tell(); wait()
            finally: raise ValueError
        except ValueError:
            print("replaced")
        wait()
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, "replaced\n", "")


@pytest.mark.parametrize("again", [signal.SIGINT, signal.SIGTERM])
def test_the_second_does_not_disturb_the_clean_up(again: int) -> None:
    done = run(
        f"""
        from tests.lab.command import run_command
        try:
            tell()
            wait()
        finally:
            with undisturbed():
                command = ["sh", "-c", f"kill -{int(again)} {{os.getpid()}}; echo cleaned up"]
                print(run_command(command, os.environ).stdout, end="")
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, "cleaned up\n", "")


def test_it_waits_for_the_end_of_what_is_undisturbed() -> None:
    done = run(
        """
        with undisturbed():
            tell()
            try: wait(0.1)
            except TimeoutError: print("done")
        wait()
        print("never")
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, "done\n", "")


def test_another_handlers_signal_ends_nothing() -> None:
    done = run(
        """
        signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
        os.kill(os.getpid(), signal.SIGUSR1)
        try: wait(0.1)
        except TimeoutError: print("waited")
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "handled\nwaited\n", "")


WAITS = {
    "a command": "run_command(['sh', '-c', tells + 'exec sleep 50'], os.environ)",
    "a process": "Process(['sh', '-c', tells + 'exec sleep 50'], 0, os.environ, 'p').wait()",
    "an event": "child('exec sleep 50'); wait()",
    "a socket": "child('exec sleep 50'); receive(pair[0], 1)",
}


@pytest.mark.parametrize("what", WAITS)
def test_it_interrupts_each_kind_of_wait(what: str) -> None:
    """The child sends the signal, when this process may or may not be in the wait already."""
    done = run(
        f"""
        import socket, subprocess
        from tests.lab.command import run_command
        from tests.lab.process import Process
        from tests.lab.wait import receive

        tells = f"kill -TERM {{os.getpid()}}; "
        children, pair = [], socket.socketpair()

        def child(command):
            children.append(subprocess.Popen(["sh", "-c", tells + command]))

        try:
            {WAITS[what]}
        finally:
            for each in children:
                each.kill()
                each.wait()
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "")


def test_an_interrupted_command_is_killed_with_its_session() -> None:
    done = run(
        """
        from tests.lab.command import run_command
        read, write = os.pipe()
        tells = f"echo $! > /proc/{os.getpid()}/fd/{write}; kill -TERM {os.getpid()}"
        try:
            run_command(["sh", "-c", f"sleep 50 & {tells}; wait"], os.environ)
        finally:
            sleeper = int(os.read(read, 100))
            with undisturbed():
                until(lambda: not os.path.exists(f"/proc/{sleeper}/exe"), "its end")
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "")


SETTINGS = ["grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status"]


def test_a_command_inherits_no_signal_setting() -> None:
    """Neither the handlers' nor that a signal has come already."""
    done = run(
        f"""
        from tests.lab.command import run_command
        tell()
        with undisturbed():
            print(run_command({SETTINGS}, os.environ).stdout, end="")
        """
    )
    plain = subprocess.run(SETTINGS, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, plain.stdout, "")
