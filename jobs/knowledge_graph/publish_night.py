"""Audit the night, write its report, and publish its tables as one commit, the last one."""

from roilake.runtime.command import main
from roilake.runtime.publish import run

if __name__ == "__main__":
    main(run, "knowledge_graph")
