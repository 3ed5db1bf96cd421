# shellcheck shell=bash disable=SC2154 # scripts/bare-debian sources it
# What dpkg and rpm do with the packages, and what lintian and systemd-analyze say of them.

names=(takumi-backup takumi-secrets age-plugin-pkcs11)
debs=() formers=()
for name in "${names[@]}"; do debs+=("$(deb "$name")"); done

say "lintian"
# It refuses to be root by a warning; --fail-on is what counts.
lintian --fail-on error --allow-root "${debs[@]}" >&2

say "a former version"
for n in "${!names[@]}"; do
    dpkg-deb -R "${debs[n]}" "$work/former"
    sed -i 's/^Version: .*/Version: 0.0.0~a.former/' "$work/former/DEBIAN/control"
    # Its settings were others, so that dpkg has something to decide.
    [[ ! -e $work/former/etc/takumi-secrets/secrets.conf ]] || sed -i '1i # of the former version' "$work/former/etc/takumi-secrets/secrets.conf"
    (cd "$work/former" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | xargs -0 md5sum >DEBIAN/md5sums)
    dpkg-deb --root-owner-group -Zgzip -z1 -b "$work/former" "$work/${names[n]}-former.deb" >/dev/null
    formers+=("$work/${names[n]}-former.deb")
    rm -r "$work/former"
done

# life DIR: from the first installation to purge.
life() {
    local root=$1
    mkdir "$root/debs"
    cp "${debs[@]}" "${formers[@]}" "$root/debs/"
    shell "$root" "$(cat <<'IN'
is() { [[ "$1" == "$2" ]] || { echo "is $1, and not $2" >&2; exit 1; }; }
enabled() { find /etc/systemd/system -type l -name 'takumi*' | sort | tr '\n' ' '; }
dpkg -i /debs/*-former.deb
is "$(stat -c '%U %a' /var/backups/takumi /var/lib/takumi-backup | tr '\n' ' ')" 'takumi-backup 700 takumi-backup 700 '
is "$(getent passwd takumi-backup takumi-secrets | cut -d: -f6,7 | tr '\n' ' ')" '/var/lib/takumi-backup:/usr/sbin/nologin /var/lib/takumi-secrets:/usr/sbin/nologin '
is "$(enabled)" ''
takumi-backup version
takumi-secrets version
age-plugin-pkcs11 --help 2>&1 | grep -- --generate >/dev/null
test -s /usr/share/man/man1/takumi-backup-restore-database.1.gz || [[ -e /etc/dpkg/dpkg.cfg.d/excludes ]]
bash -c 'source /usr/share/bash-completion/completions/takumi-backup; complete -p takumi-backup' >/dev/null
dpkg --verify takumi-backup takumi-secrets age-plugin-pkcs11

# An administrator's: settings, a key, a backup, a drop-in, timers that are on.
mkdir -p /etc/takumi-backup /etc/systemd/system/takumi-backup.service.d
printf '[keys]\nuris = ["file:/etc/takumi-backup/backup.key"]\n' >/etc/takumi-backup/backup.toml
chmod 600 /etc/takumi-backup/backup.toml
takumi-backup key generate -o /etc/takumi-backup/backup.key
chown -R takumi-backup: /etc/takumi-backup
printf '[Service]\nNice=5\n' >/etc/systemd/system/takumi-backup.service.d/nice.conf
echo content | takumi-backup seal --name first
echo 'TAKUMI_ENV=staging' >>/etc/takumi-secrets/secrets.conf
chmod 640 /etc/takumi-secrets/secrets.conf
! command -v systemctl >/dev/null || systemctl enable takumi-backup.timer 2>/dev/null
on=$(enabled)
find /etc/takumi-backup /etc/takumi-secrets /var/backups /var/lib/takumi-backup /etc/systemd -type f -exec sha256sum {} + | sort >/before

# The units are those that the program itself would write.
takumi-backup install-timers --apply --config none | tee /timers
is "$(grep -c '^as it is' /timers)" "$(wc -l </timers)"

dpkg --force-confdef --force-confold -i $(ls /debs/*.deb | grep -v former)
find /etc/takumi-backup /etc/takumi-secrets /var/backups /var/lib/takumi-backup /etc/systemd -type f ! -name '*.dpkg-dist' -exec sha256sum {} + | sort >/after
diff /before /after
is "$(stat -c %a /etc/takumi-secrets/secrets.conf)" 640
is "$(enabled)" "$on"
takumi-backup verify --quiet --config /etc/takumi-backup/backup.toml
takumi-backup install-timers --apply --config none >/timers
is "$(grep -c '^as it is' /timers)" "$(wc -l </timers)"

dpkg -r takumi-backup takumi-secrets age-plugin-pkcs11
[[ ! -e /usr/bin/takumi-backup && ! -e /usr/bin/takumi-secrets ]]
is "$(enabled)" ''
grep -q staging /etc/takumi-secrets/secrets.conf
dpkg -P takumi-backup takumi-secrets age-plugin-pkcs11 | tee /purged
grep -q '/var/backups/takumi stays' /purged
[[ ! -e /etc/takumi-secrets ]]
is "$(find / -xdev \( -name 'takumi*' -o -name 'age-plugin*' \) ! -path '/debs/*' ! -path '/proc/*' | grep -v -e '^/etc/takumi-backup' -e '^/var/backups/takumi' -e '^/var/lib/takumi-backup' -e '^/etc/systemd/system/takumi-backup.service.d' | tr '\n' ' ')" ''
[[ -s /etc/takumi-backup/backup.key && -n $(ls /var/backups/takumi/*/*.enc) ]]
IN
    )"
}

say "dpkg, without systemd"
debian "$work/plain" base
life "$work/plain"

say "dpkg, with systemd installed"
debian "$work/systemd" systemd systemd
life "$work/systemd"

say "units"
for name in "${debs[@]}"; do inside "$work/systemd" dpkg -i "/debs/${name##*/}" >/dev/null; done
units=$(cd "$work/systemd/usr/lib/systemd/system" && ls takumi-*)
# shellcheck disable=SC2086 # names of units
(cd "$work/systemd/usr/lib/systemd/system" && systemd-analyze verify --man=no --root="$work/systemd" $units)
for unit in $units; do
    case $unit in
    *.timer | takumi-backup-failed@.service) ;; # the latter runs a mail server, which wants rights
    *) systemd-analyze security --offline=true --no-pager --root="$work/systemd" --threshold=20 "$unit" | tail -n 1 ;;
    esac
done

say "init turns the timers on, by a systemctl that only writes down"
shell "$work/systemd" "$(cat <<'IN'
rm -rf /etc/takumi-backup /etc/systemd/system/takumi*
mkdir -p /run/systemd/system /srv/documents
echo content >/srv/documents/file
printf '#!/bin/sh\necho "$@" >>/called\n' >/usr/local/bin/systemctl
chmod +x /usr/local/bin/systemctl
takumi-backup init --yes --database= --contracts= --uploads /srv/documents
grep -qx 'enable --now takumi-backup-drill.timer takumi-backup-verify.timer takumi-backup.timer' /called
[[ -z $(find /etc/systemd/system -name 'takumi*') ]] # the package's units are just right
IN
)"

say "rpm"
debian "$work/rpm" base
cp "$(find "$dist" -name "takumi-backup-*.$(uname -m).rpm")" "$work/rpm/package.rpm"
red() { rpm --root "$work/rpm" "$@" 2>&1 | grep -v -e Alien -e 'However assuming' || ((PIPESTATUS[0] == 0)); }
red -i --nodeps --ignoreos "$work/rpm/package.rpm"
[[ $(stat -c %a "$work/rpm/var/backups/takumi") == 700 && $(chroot "$work/rpm" stat -c %U /var/backups/takumi) == takumi-backup ]]
red -V --nodeps takumi-backup
touch "$work/rpm/var/backups/takumi/kept"
red -U --nodeps --ignoreos --replacepkgs "$work/rpm/package.rpm"
red -e --nodeps takumi-backup
[[ ! -e $work/rpm/usr/bin/takumi-backup && -e $work/rpm/var/backups/takumi/kept ]]
