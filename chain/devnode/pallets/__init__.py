"""The runtime's pallets: one module each, and one for each concern of SubtensorModule."""
