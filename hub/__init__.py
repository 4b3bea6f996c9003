"""The Hub: one typed client and the embedded server."""
