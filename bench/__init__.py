# SPDX-License-Identifier: MIT
"""Side-by-side measurements of WSGI servers: `make bench`, or `python -m bench --help`.

What is measured and how to read it: docs/benchmarks.md. Nothing here asserts on time.
"""
