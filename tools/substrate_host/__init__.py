"""A host for any Substrate runtime: a wasm file becomes a chain behind Substrate's JSON-RPC, in one process."""
