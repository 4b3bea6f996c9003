"""The validator: admits, scores and credits submissions, then sets weights."""
