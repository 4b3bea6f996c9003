"""Processes: command line, wiring, daemon loop and the demo."""
