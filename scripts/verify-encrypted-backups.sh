#!/usr/bin/env bash
# Opens every backup to its end, and keeps nothing of it: each one is read,
# authenticated and unpacked.
#
#   verify-encrypted-backups.sh           all in and under BACKUP_ROOT
#   verify-encrypted-backups.sh PATH...   these files and folders
#
# The exit code is 0 when all are good, 6 when some are not, and 1 when there
# is none at all. It is 4, at the first backup that the keys at hand do not open:
# that says nothing of the backup.

set -euo pipefail
# shellcheck source=scripts/lib/takumi.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/takumi.sh"

case ${1-} in
-h | --help)
    sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit
    ;;
esac
(($#)) || set -- "${BACKUP_ROOT:-${BACKUP_DIR:-/var/backups/takumi}}"

# Into a file, so that a folder that find cannot read does not pass unnoticed.
found=$(mktemp)
trap 'rm -f "$found"' EXIT
trap 'exit 130' INT TERM HUP
good=0 bad=0
# A path that begins with - is no option; a link that is named is followed.
for path; do
    [[ $path == /* ]] || path=./$path
    find -H "$path" -type f -name '*.enc' -print0 >>"$found" || bad=$((bad + 1))
done
while IFS= read -r -d '' file; do
    status=0
    takumi-backup open --quiet "$file" </dev/null >/dev/null || status=$?
    case $status in
    0)
        good=$((good + 1))
        printf 'good  %s\n' "$file"
        ;;
    4)
        say "error: no key for $file, so that it could not be verified; before it: $good good, $bad bad"
        exit 4
        ;;
    *)
        bad=$((bad + 1))
        printf 'BAD   %s\n' "$file"
        ;;
    esac
done <"$found"
say "$good good, $bad bad"
((bad == 0)) || exit 6
if ((good == 0)); then
    say "error: there are no backups in $*"
    exit 1
fi
