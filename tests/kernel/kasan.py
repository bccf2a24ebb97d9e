# SPDX-License-Identifier: MIT
"""`make test-kasan`: runs the suites on the debug kernel, which checks what a stock kernel does
not.

    python -m tests.kernel.kasan [--full] [--helper NAME] [--suite NAME] [--case GLOB]

KASAN (bytes), lockdep and PROVE_RCU (locks), UBSAN (arithmetic) and the debug objects (lifetimes)
write what they find to the kernel's log. kmemleak scans at the end, after the module was unloaded.
Every complaint is a failed case. The exit status is that of `python -m tests.kernel`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from tests.stages.outcomes import NOTHING_RAN

from . import boot, report
from .debugkernel import debug_kernel
from .suites import add_options, run

MACHINE = boot.Machine(memory=3072, boot=400, limit=3 * 3600, silence=900)
"""About four times slower than with a stock kernel. KASAN's shadow takes an eighth of the memory,
the checkers' records another quarter."""

FULL_LIMIT = 12 * 3600

SUITES = [
    *("matrix", "ends", "rules", "udp", "icmp", "auth"),
    *("bounds", "crowds", "life", "attacks", "faults"),
]
"""The suites of a run without `--full` and `--suite`. It leaves out those that count
retransmissions, because so slow a kernel retransmits by itself, and those that run mostly other
programs."""

# The first scan and `clear` forget leaks of the boot. The last two scans come six seconds after the
# suite, because kmemleak ignores objects younger than five seconds and reports an object only when
# two scans found no reference to it. The loop waits until the kernel has removed the suite's
# namespaces, whose rules hold a reference to the module.
SCRIPT = """
leaks=/sys/kernel/debug/kmemleak
mount -t debugfs debugfs /sys/kernel/debug
echo scan >$leaks && echo clear >$leaks || exit 99
{suite}
status=$?
for pause in 0 1 1 2 2 5 5 10 10 20; do
    sleep $pause
    test -e /sys/module/ctinject || break
    refused=$(rmmod ctinject 2>&1)
done
test -e /sys/module/ctinject && {{ echo "$refused"; status=98; }}
sleep 6; echo scan >$leaks; echo scan >$leaks
head -50 $leaks
exit $status
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    options = parser.parse_args()
    if not options.full and not options.suite:
        options.suite = SUITES
    if lacking := boot.lacking():
        print(f"the kernel's tests are skipped: install {' '.join(lacking)}")
        return NOTHING_RAN
    machine = replace(MACHINE, limit=FULL_LIMIT) if options.full else MACHINE
    done = run("debug", debug_kernel, options, machine, SCRIPT)
    report.print_run(done)
    return report.print_total([done])


if __name__ == "__main__":
    sys.exit(main())
