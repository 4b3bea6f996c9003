#!/bin/sh
# The embedded chain; at its genesis every wallet's coldkey gets funds.
set -eu
set --
for file in wallets/*/coldkeypub.txt; do
  address="$(sed -n 's/.*"ss58Address": *"\([^"]*\)".*/\1/p' "$file")"
  set -- "$@" --endow "$address=100000"
done
exec hivetune chain serve --state chain/chain.sqlite --host 0.0.0.0 --port 9944 --block-time 2 "$@"
