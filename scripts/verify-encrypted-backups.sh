#!/usr/bin/env bash
# Proves every backup, as takumi-backup verify does.
#
#   verify-encrypted-backups.sh                   all in and under BACKUP_ROOT
#   verify-encrypted-backups.sh [FLAG...] PATH... these files and folders

set -euo pipefail
# shellcheck source=scripts/lib/takumi.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/takumi.sh"

exec takumi-backup verify "$@"
