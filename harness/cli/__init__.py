"""The commands of the ``harness`` program, a module each."""
