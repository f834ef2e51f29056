"""``python -m roilake`` is the ``roilake`` command."""

from roilake.cli import app

app(prog_name="roilake")
