#!/bin/sh
# One unencrypted wallet for each name given: for a private network only.
set -eu
for name in "$@"; do
  if [ ! -d "wallets/$name" ]; then
    hivetune wallet create "$name" --wallet-path wallets --no-password
  fi
done
