"""How long a test waits for what has to happen."""

PATIENCE = 1200.0
"""Seconds after which something hangs. It measures nothing: it is more than ten times the longest wait that was seen while other work kept both cores busy."""
