# SPDX-License-Identifier: MIT
"""`python -m ctwsgi`."""

if not __package__:
    # On USR2 gunicorn runs this file by its path, with this folder in sys.path: ctwsgi/http would
    # then hide Python's http.
    import os
    import sys

    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    __package__ = "ctwsgi"  # relative imports need it, and a file run by its path has none

from .cli import main

main(prog_name="ctwsgi")
