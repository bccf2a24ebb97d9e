# SPDX-License-Identifier: MIT
"""What `make test`, `make test-kernel`, `make test-full` and `make test-repeat` run.

plan.py        which stages there are, and the parts of each
part.py        one running part: its process, its log, its outcomes
outcomes.py    the file in which a part writes each case's outcome
plugin.py      writes that file for pytest
lint.py        the linters as a part
stage.py       runs the parts of one stage, several at a time; in CI runs failed cases again
summary.py     the closing lines
repeat.py      runs a stage or some paths many times
"""
