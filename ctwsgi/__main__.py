# SPDX-License-Identifier: MIT
"""`python -m ctwsgi`."""

if not __package__:
    # gunicorn's USR2 runs this file by its path; beside it, our `http` would hide Python's.
    import os
    import sys

    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from ctwsgi.cli import main  # absolute: run by its path this file has no package

main(prog_name="ctwsgi")
