#!/bin/sh
# Once a network: a Hub token for every wallet, the subnet with release 0, and everybody's registration.
set -eu
if [ -e tokens/ready ]; then
  exit 0
fi
for folder in wallets/*/; do
  name="$(basename "$folder")"
  hivetune hub token "$name" --root hub > "tokens/$name"
done
HIVETUNE_HUB_TOKEN="$(cat tokens/owner)"
export HIVETUNE_HUB_TOKEN
if [ ! -e tokens/subnet-made ]; then
  hivetune subnet create --network "$CHAIN" --hub "$HUB" --wallet owner --wallet-path wallets \
    --base "$BASE" --corpus "$CORPUS" --num-shards 8 --sequence-length 128 --rank 8 --score-sequences 24 \
    --sudo //Alice --tempo 360 --cache cache
  touch tokens/subnet-made
fi
for name in validator-1 validator-2; do
  hivetune subnet register --network "$CHAIN" --netuid 1 --wallet "$name" --wallet-path wallets --stake 1000
done
for name in miner-1 miner-2; do
  hivetune subnet register --network "$CHAIN" --netuid 1 --wallet "$name" --wallet-path wallets
done
touch tokens/ready
