# SPDX-License-Identifier: MIT
"""Side-by-side measurements of WSGI servers: `make bench`, or `python -m bench --help`.

docs/benchmarks.md says what is measured and how to read it. No assertion depends on time.
"""
