#!/usr/bin/env bash
# Restores contracts from a sealed snapshot into a new folder next to
# CONTRACTS_DIR, and prints its path: takumi-backup restore contracts, with
# Takumi's environment. Nothing that exists is touched: what to take over from
# the snapshot is for people to decide.
#
#   restore-contracts-encrypted.sh FILE
#   restore-contracts-encrypted.sh FILE --to DIR
#
# Arguments go to takumi-backup; --help shows which there are.

set -euo pipefail
# shellcheck source=scripts/lib/takumi.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/takumi.sh"

contracts_defaults
case " $* " in
*" --to"[\ =]* | *" --help "* | *" -h "*) ;;
*)
    folder=${CONTRACTS_DIR:-$PWD/contracts}
    set -- "$@" --to "${folder%/}_restore_$(date -u +%Y%m%d_%H%M%S)"
    ;;
esac
exec takumi-backup restore contracts "$@"
