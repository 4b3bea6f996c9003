"""The averager: merges what the chain's weights approve into the next release."""
