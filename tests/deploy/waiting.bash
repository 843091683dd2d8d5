#!/usr/bin/env bash
# Sourced by the proofs that wait for something real to happen.

# until_true SECONDS COMMAND...: waits until the command succeeds; fails when it has not by then.
until_true() { local end=$((SECONDS + $1)); shift; until "$@" >/dev/null 2>&1; do [ "$SECONDS" -lt "$end" ] || return 1; sleep .5; done; }
