#!/bin/sh
# The command line, with the Hub token taken from a file where one is named, as container secrets are.
set -eu
if [ -n "${HIVETUNE_HUB_TOKEN_FILE:-}" ]; then
  HIVETUNE_HUB_TOKEN="$(cat "$HIVETUNE_HUB_TOKEN_FILE")"
  export HIVETUNE_HUB_TOKEN
fi
exec hivetune "$@"
