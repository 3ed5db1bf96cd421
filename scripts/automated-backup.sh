#!/usr/bin/env bash
# Backs up all that is configured and then deletes what RETENTION_DAYS no longer
# keeps: takumi-backup backup all --prune, with Takumi's environment. Arguments
# go to it; --help shows which there are. A settings file (--config) wins over
# the environment.
#
# The exit code is 0 when all went well. Copies elsewhere (CLOUD_BACKUP) and
# messages (SLACK_WEBHOOK) are not made: who asks for copies is told with exit
# code 6, when the backups stand.

set -euo pipefail
# shellcheck source=scripts/lib/takumi.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/takumi.sh"

# What a settings file leaves out is left out.
if [[ " $* " != *" --config"[\ =]* ]]; then
    database_defaults
    contracts_defaults
fi
if [[ -z ${BACKUP_ROOT:-} && -n ${SNAPSHOT_DIR:-} ]]; then
    say "warning: SNAPSHOT_DIR does not count here: set BACKUP_ROOT, and contracts go to BACKUP_ROOT/contracts"
fi
if [[ -n ${SLACK_WEBHOOK:-} ]]; then
    say "warning: SLACK_WEBHOOK is set, and no message is sent: go by the exit code"
fi
if [[ ${CLOUD_BACKUP:-false} != true ]]; then
    exec takumi-backup backup all --prune "$@"
fi
takumi-backup backup all --prune "$@"
say "error: CLOUD_BACKUP is true, and nothing was copied elsewhere: the backups stand on this machine only"
exit 6
