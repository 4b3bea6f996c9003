"""The whole network on one machine: its model, its text, its processes and its view."""
