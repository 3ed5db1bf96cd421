#!/usr/bin/env bash
# Restores the database from a sealed dump: takumi-backup restore database, with
# Takumi's environment. The former database is kept.
#
#   restore-database-encrypted.sh FILE          asks first
#   restore-database-encrypted.sh FILE --yes    does not, as from a script
#
# Arguments go to takumi-backup; --help shows which there are.

set -euo pipefail
# shellcheck source=scripts/lib/takumi.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/takumi.sh"

database_defaults
exec takumi-backup restore database "$@"
