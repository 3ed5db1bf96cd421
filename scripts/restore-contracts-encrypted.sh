#!/usr/bin/env bash
# Restores contracts from a sealed snapshot: takumi-backup restore contracts,
# with Takumi's environment. The former folder is kept.
#
#   restore-contracts-encrypted.sh FILE
#
# Arguments go to takumi-backup; --help shows which there are.

set -euo pipefail
# shellcheck source=scripts/lib/takumi.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/takumi.sh"

contracts_defaults
exec takumi-backup restore contracts "$@"
