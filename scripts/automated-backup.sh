#!/usr/bin/env bash
# Backs up all that is configured and then deletes what RETENTION_DAYS no longer
# keeps: takumi-backup backup all --prune, with Takumi's environment. Arguments
# go to it; --help shows which there are. A settings file (--config) wins over
# the environment.
#
# With CLOUD_BACKUP=true each backup goes to S3 as well, as it is made: to
# CLOUD_BUCKET or S3_BUCKET (NAME, NAME/PREFIX or s3://NAME/PREFIX), unless
# BACKUP_ALSO names the stores; docs/OFFSITE.md says what else that takes. With no
# target named the backups are made all the same, and the exit code is 6. With a
# settings file BACKUP_ALSO in it says where copies go, and CLOUD_* in it nothing.
#
# The exit code is 0 when all went well, the copies too. No messages are sent
# (SLACK_WEBHOOK).

set -euo pipefail
# shellcheck source=scripts/lib/takumi.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/takumi.sh"

configured=false
if [[ " $* " == *" --config"[\ =]* ]]; then
    configured=true # what a settings file leaves out is left out
else
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
bucket=${CLOUD_BUCKET:-${S3_BUCKET:-}}
if [[ -z ${BACKUP_ALSO:-} && -n $bucket ]]; then
    export BACKUP_ALSO=s3://${bucket#s3://}
fi
if $configured || [[ -n ${BACKUP_ALSO:-} ]]; then
    exec takumi-backup backup all --prune "$@"
fi
code=0
CLOUD_BACKUP=false takumi-backup backup all --prune "$@" || code=$?
say "error: CLOUD_BACKUP is true, and no target is named: set CLOUD_BUCKET, or BACKUP_ALSO=s3://BUCKET/PREFIX. What was backed up is on this machine only"
exit $((code == 0 ? 6 : code))
