"""The miner: trains a DoRA adapter on its shard, commits its digest, then reveals it."""
