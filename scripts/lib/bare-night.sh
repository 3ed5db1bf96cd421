# shellcheck shell=bash disable=SC2154 # scripts/bare-debian sources it
# A host from nothing to its first nights; then it is gone, and a second one has the
# address of the off-site store, its credentials, and the paper kit.

need pdftoppm=poppler-utils
install
if [[ -z ${AWS_ENDPOINT_URL-} ]]; then # once more, with a bucket off-site
    exec "$repo/scripts/versitygw-dev" run "$0" "$what" "$dist"
fi
offsite="s3://backups/db1?endpoint=$AWS_ENDPOINT_URL&path_style=true&region=us-east-1"
step() { say "$(date -u -d "@$((SECONDS - began))" +%M:%S) $*"; }

step "the first host"
debian "$work/first" postgresql postgresql,ca-certificates
cp "$(deb takumi-backup)" "$work/first/takumi-backup.deb"
cp "$repo/scripts/lib/takumi.sql" "$work/first/"

# What a unit runs, as its user, with its environment, and no more of the host's.
cat >"$work/first/unit" <<'IN'
#!/bin/bash
# unit NAME [SED-SCRIPT] runs what ExecStart says.
set -euo pipefail
file=/usr/lib/systemd/system/$1.service
get() { sed -n "s/^$1=//p" "$file"; }
user=$(get User)
[[ -z $(get CacheDirectory) ]] || install -d -m 0700 -o "$user" -g "$user" "/var/cache/$(get CacheDirectory)"
command=$(get ExecStart | sed "${2-}")
echo "+ ($user) $command" >&2
mapfile -t environment < <(get Environment)
# systemd splits a line without quotes in just this way.
# shellcheck disable=SC2086
exec setpriv --reuid="$user" --regid="$user" --init-groups --no-new-privs --bounding-set=-all \
    env -i PATH="$PATH" HOME=/var/lib/takumi-backup USER="$user" "${environment[@]}" $command
IN
chmod +x "$work/first/unit"

shell "$work/first" "$(cat <<'IN'
is() { [[ "$1" == "$2" ]] || { echo "is $1, and not $2" >&2; exit 1; }; }
as() { local user=$1; shift; setpriv --reuid="$user" --regid="$user" --init-groups env HOME=/tmp "$@"; }
pg_ctlcluster 15 main start
as postgres psql -qXc "CREATE ROLE app LOGIN" -c "CREATE DATABASE takumi OWNER app"
as postgres psql -qX -v ON_ERROR_STOP=1 -v scale=1 -d takumi -f /takumi.sql
as postgres psql -qXc "ALTER DATABASE takumi SET work_mem = '8MB'"
mkdir -p /srv/takumi/uploads/avatars
head -c 3000000 /dev/urandom >/srv/takumi/uploads/avatars/7.png
echo 'odd name' >"/srv/takumi/uploads/ünï cödé"
chown -R www-data: /srv/takumi/uploads

dpkg -i /takumi-backup.deb
# What init leaves to the administrator: a role, and the credentials of the bucket.
as postgres psql -qXc 'CREATE ROLE "takumi-backup" LOGIN SUPERUSER'
install -d -m 0700 -o takumi-backup -g takumi-backup /var/lib/takumi-backup/.aws
printf '[offsite]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$KEY_ID" "$KEY_SECRET" >/var/lib/takumi-backup/.aws/credentials
chown takumi-backup: /var/lib/takumi-backup/.aws/credentials
chmod 600 /var/lib/takumi-backup/.aws/credentials
takumi-backup init --yes --also "$OFFSITE&profile=offsite" --database takumi --uploads /srv/takumi/uploads
cat /etc/takumi-backup/backup.toml

echo 'after init' >/srv/takumi/uploads/new
as postgres psql -qX -d takumi -c 'CREATE TABLE night AS SELECT 1 AS one'
/unit takumi-backup
takumi-backup list
/unit takumi-backup-verify
/unit takumi-backup-drill
takumi-backup status
as postgres pg_dump --restrict-key=x takumi | md5sum >/sum 2>/dev/null || as postgres pg_dump takumi | grep -v restrict | md5sum >/sum
(cd /srv/takumi/uploads && find . -type f -print0 | sort -z | xargs -0 sha256sum) >/files

# A night that does not come. No clock can be moved here, so it has to be short.
sleep 3
code=0
/unit takumi-backup-verify 's/--max-age 26h/--max-age 2s/' >/missed 2>&1 || code=$?
cat /missed
is "$code" 6
grep -q too-old /missed || grep -q 'older than' /missed
sh -c "$(sed -n "s/^ExecStart=.bin.sh -c '\(.*\)'$/\1/p" /usr/lib/systemd/system/takumi-backup-failed@.service | sed 's/%i/takumi-backup-verify.service/g; s/%H/first/g')" >/told
cat /told
grep -q '^<1>takumi-backup-verify.service failed on first' /told
cp /etc/takumi-backup/recovery-kit.pdf /kit.pdf
IN
)" OFFSITE="$offsite" KEY_ID="$AWS_ACCESS_KEY_ID" KEY_SECRET="$AWS_SECRET_ACCESS_KEY"

step "it is gone; the second host"
debian "$work/second" postgresql
cp "$(deb takumi-backup)" "$work/second/takumi-backup.deb"
# The paper, photographed.
pdftoppm -r 150 -png "$work/first/kit.pdf" "$work/second/kit"
mv "$work/first/sum" "$work/first/files" "$work/"
rm -rf "$work/first"
lost=$SECONDS
shell "$work/second" "$(cat <<'IN'
as() { local user=$1; shift; setpriv --reuid="$user" --regid="$user" --init-groups env HOME=/tmp "$@"; }
pg_ctlcluster 15 main start
dpkg -i /takumi-backup.deb
takumi-backup key scan -o /run/takumi.key /kit*.png
export BACKUP_ENCRYPTION_KEY_FILE=/run/takumi.key
takumi-backup list "$BACKUP_ROOT"
find() { takumi-backup list "$BACKUP_ROOT" --json | sed -n 's/.*"path":"\([^"]*'"$1"'[^"]*\.enc\)".*/\1/p' | head -n 1; }
takumi-backup open "$(find globals)" | grep -v 'ROLE postgres;' | as postgres psql -qX -v ON_ERROR_STOP=1 -d postgres
# Root restores files with their owners; the database's superuser is postgres.
install -m 600 -o postgres /run/takumi.key /run/postgres.key
as postgres env BACKUP_ENCRYPTION_KEY_FILE=/run/postgres.key DB_HOST=/var/run/postgresql DB_NAME=takumi DB_USER=postgres takumi-backup restore database --latest --yes
mkdir -p /srv/takumi
takumi-backup restore uploads --latest --to /srv/takumi/uploads --yes
as postgres pg_dump --restrict-key=x takumi | md5sum >/sum 2>/dev/null || as postgres pg_dump takumi | grep -v restrict | md5sum >/sum
(cd /srv/takumi/uploads && command find . -type f -print0 | sort -z | xargs -0 sha256sum) >/files
stat -c '%U %n' /srv/takumi/uploads/new
[[ $(as postgres psql -qXAtc "SELECT setconfig FROM pg_db_role_setting JOIN pg_database ON oid = setdatabase WHERE datname = 'takumi'") == '{work_mem=8MB}' ]]
IN
)" BACKUP_ROOT=s3://backups/db1 AWS_ENDPOINT_URL="$AWS_ENDPOINT_URL" AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID="$AWS_ACCESS_KEY_ID" AWS_SECRET_ACCESS_KEY="$AWS_SECRET_ACCESS_KEY"
diff "$work/second/sum" "$work/sum"
diff "$work/second/files" "$work/files"
step "the second host has what the first one had, $((SECONDS - lost)) seconds after the package was at hand"
