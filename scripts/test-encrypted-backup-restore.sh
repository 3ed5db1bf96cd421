#!/usr/bin/env bash
# Shows that the database can be restored: makes a backup of it, as every night,
# restores that into a database next to it, compares, and drops the copy. The
# live database is only read; the backup stays in the store.
#
# What is compared: every row of every table, with what the dump saw (restore
# does it, by the manifest that is made with the backup), and the number of
# tables with that of the live database.

set -euo pipefail
# shellcheck source=scripts/lib/takumi.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/takumi.sh"

case ${1-} in
"") ;;
-h | --help)
    sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit
    ;;
*)
    say "error: unknown argument $1; see $0 --help"
    exit 64
    ;;
esac
database_defaults
live=${DB_NAME:-${PGDATABASE:-}}
if [[ -z $live ]]; then
    say "error: set DB_NAME: the name of the copy is made of it"
    exit 64
fi
# Names of databases end after 63 bytes.
copy=${live:0:30}_drill_$(date -u +%Y%m%d_%H%M%S)_$$

# libpq's names of the same settings, for psql and dropdb.
[[ -z ${DB_HOST:-} ]] || export PGHOST=$DB_HOST
[[ -z ${DB_PORT:-} ]] || export PGPORT=$DB_PORT
[[ -z ${DB_USER:-} ]] || export PGUSER=$DB_USER
[[ -z ${DB_PASSWORD:-} ]] || export PGPASSWORD=$DB_PASSWORD

tables() {
    PGDATABASE=$1 psql -X -A -t -q -w -v ON_ERROR_STOP=1 \
        -c "SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname !~ '^pg_' AND schemaname <> 'information_schema'"
}

made=
drop_copy() {
    local status=$?
    trap '' INT TERM HUP
    if [[ -n $made ]] && ! dropdb --if-exists --no-password -- "$copy"; then
        say "error: the copy could not be dropped: drop the database $copy yourself"
        ((status != 0)) || status=1
    fi
    exit "$status"
}
trap drop_copy EXIT
trap 'exit 130' INT TERM HUP

paths=$(takumi-backup backup database --manifest)
path=${paths%%$'\n'*} # the next line is the manifest's
made=yes # restore removes what it does not finish; this is for what comes after
takumi-backup restore database --into "$copy" --yes "$path"

want=$(tables "$live") got=$(tables "$copy")
if [[ $want != "$got" ]]; then
    say "error: the copy has $got tables, the live database $want: $path"
    exit 1
fi
say "restored, compared and dropped again: $got tables from $path"
