"""`python -m demo_app.cli`: the command without an installation."""

from . import main

main()
