# SPDX-License-Identifier: MIT
"""`make test-kasan`: the suites on the debug kernel: it sees what a stock kernel forgives.

    python -m tests.kernel.kasan [--full] [--helper NAME] [--suite NAME] [--case GLOB]

KASAN (bytes), lockdep and PROVE_RCU (locks), UBSAN (arithmetic) and the debug objects (lifetimes)
complain into the kernel's log as they find something; kmemleak is asked at the end, once the module
is gone. Every complaint is a failed case. The exit status is that of `python -m tests.kernel`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from . import boot as guest
from . import report
from .__main__ import NOTHING_RAN
from .debugkernel import debug_kernel
from .suites import add_options, run

MACHINE = guest.Machine(memory=3072, boot=400, limit=3 * 3600, silence=900)
"""Some four times slower than with a stock kernel. KASAN's shadow takes an eighth of the memory,
the checkers' records another quarter."""

FULL_LIMIT = 12 * 3600

SUITES = [
    *("matrix", "ends", "rules", "udp", "icmp", "auth"),
    *("bounds", "crowds", "life", "attacks", "faults"),
]
"""Without `--full` or `--suite`. Not those that measure how much is sent again, which a kernel so
slow does on its own account, nor those of which other programs are the greater part."""

# Two scans, six seconds after: the kernel passes over what is younger than five, and reports only
# what looked lost twice. What the boot has lost is not ours. The suite's namespaces, whose rules
# hold the module, are taken down after its end.
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
    if lacking := guest.lacking():
        print(f"the kernel's tests are skipped: install {' '.join(lacking)}")
        return NOTHING_RAN
    machine = replace(MACHINE, limit=FULL_LIMIT) if options.full else MACHINE
    done = run("debug", debug_kernel, options, machine, SCRIPT)
    report.print_run(done)
    return report.print_total([done])


if __name__ == "__main__":
    sys.exit(main())
