"""What every node must agree on: records, rounds, DoRA mathematics, scoring, merging and credit."""
