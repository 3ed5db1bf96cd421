# shellcheck shell=bash
# What the commands with Takumi's names share. They source it under
# `set -euo pipefail`, and then run takumi-backup.

say() { printf '%s\n' "$*" >&2; }

# A crontab's PATH is short.
takumi_scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if ! command -v takumi-backup >/dev/null 2>&1; then
    PATH=$PATH:$takumi_scripts:/usr/local/bin
    if ! command -v takumi-backup >/dev/null 2>&1; then
        say "error: takumi-backup is neither in PATH nor in $takumi_scripts"
        exit 1
    fi
fi

# database_defaults sets what Takumi's scripts take for granted, where neither
# they nor libpq's own variables say anything else.
database_defaults() {
    [[ -z ${PGSERVICE:-} ]] || return 0
    if [[ -z ${PGHOST:-}${PGHOSTADDR:-} ]]; then export DB_HOST=${DB_HOST:-localhost}; fi
    if [[ -z ${PGDATABASE:-} ]]; then export DB_NAME=${DB_NAME:-takumi}; fi
    if [[ -z ${PGUSER:-} ]]; then export DB_USER=${DB_USER:-postgres}; fi
}

# contracts_defaults does the same for contracts. Without CONTRACTS_DIR they are
# looked for in ./contracts.
contracts_defaults() {
    export NETWORK=${NETWORK:-sepolia}
    if [[ -z ${CONTRACTS_DIR:-} && -d contracts ]]; then
        export CONTRACTS_DIR=$PWD/contracts
    fi
}
