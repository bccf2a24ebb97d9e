# SPDX-License-Identifier: MIT
"""`python -m ctwsgi`."""

if not __package__:
    # On USR2 gunicorn runs this file by its path, with this folder in sys.path: ctwsgi/http would
    # then hide Python's http.
    import os
    import sys

    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from ctwsgi.cli import main  # absolute: run by its path this file has no package

main(prog_name="ctwsgi")
