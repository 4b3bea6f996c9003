"""The chain: one typed client, wallet keys, Yuma Consensus and the embedded chain."""
