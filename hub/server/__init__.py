"""The embedded Hub: a small HTTP server that speaks the Hugging Face Hub's API."""
