# SPDX-License-Identifier: MIT
"""`python -m ctwsgi_portal.cli`: the command without an installation."""

from . import main

main()
