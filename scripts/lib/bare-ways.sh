# shellcheck shell=bash disable=SC2154 # scripts/bare-debian sources it
# The three ways of the README, each in a folder that has nothing.

works='takumi-backup version && takumi-backup key generate -o /tmp/key && echo content | takumi-backup seal --key file:/tmp/key -o - | takumi-backup open --key file:/tmp/key - | grep -qx content'

say "the package"
debian "$work/package" base
cp "$(deb takumi-backup)" "$work/package/"
shell "$work/package" "dpkg -i /takumi-backup_*.deb; $works"

say "the archive"
debian "$work/archive" base
cp "$dist/"takumi-backup_*_linux_"$arch".tar.gz "$work/archive/"
shell "$work/archive" "tar -xzf /takumi-backup_*.tar.gz --strip-components=1 -C /usr/local/bin --wildcards '*/takumi-backup' '*/takumi-secrets'; $works"

say "from source"
find_go
debian "$work/source" base
cp -r "$(go env GOROOT)" "$work/source/usr/local/go"
git clone -q "$repo" "$work/source/takumi-backup"
# The modules that are here already are not fetched again, and those that are not, are.
mkdir -p "$work/source/root/go/pkg/mod"
cp -r "$(go env GOMODCACHE)/cache" "$work/source/root/go/pkg/mod/"
shell "$work/source" "export PATH=\$PATH:/usr/local/go/bin; cd /takumi-backup; CGO_ENABLED=0 go build -buildvcs=false ./cmd/takumi-backup; install -m 755 takumi-backup /usr/local/bin/; $works"
