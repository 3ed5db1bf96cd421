#!/usr/bin/env bash
# Seals a dump of the database and prints the path of the backup: takumi-backup
# backup database, with Takumi's environment. Arguments go to it; --help shows
# which there are. Old backups are deleted by automated-backup.sh.

set -euo pipefail
# shellcheck source=scripts/lib/takumi.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/takumi.sh"

database_defaults
exec takumi-backup backup database "$@"
