#!/usr/bin/env bash
# Seals a snapshot of the contracts and prints its path: takumi-backup backup
# contracts, with Takumi's environment. Arguments go to it; --help shows which
# there are.

set -euo pipefail
# shellcheck source=scripts/lib/takumi.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/takumi.sh"

contracts_defaults
if [[ -n ${SNAPSHOT_DIR:-} ]]; then export BACKUP_DIR=$SNAPSHOT_DIR; fi # BACKUP_ROOT wins
exec takumi-backup backup contracts "$@"
