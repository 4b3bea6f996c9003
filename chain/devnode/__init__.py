"""The embedded chain: Substrate JSON-RPC over WebSocket, Subtensor's names and rules, state in SQLite."""
