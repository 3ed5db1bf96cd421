package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
	"github.com/takumi-backup/takumi-backup/internal/testkit/s3"
	"github.com/takumi-backup/takumi-backup/internal/testkit/secrets"
)

// snippet is something of a page that a reader may type.
type snippet struct {
	line  int
	text  string
	mark  string // of the HTML comment before it: "not run: why", "file: PATH" or "shown"
	prose bool   // in a sentence, where a command without flags is the name of one
}

var (
	markForm   = regexp.MustCompile(`<!-- (not run: .+?|file: \S+|shown) -->`)
	codeForm   = regexp.MustCompile("`([^`]+)`")
	cronForm   = regexp.MustCompile(`^(\S+ ){5} *root +`)
	wordsForm  = regexp.MustCompile(`^takumi-backup( [a-z]+)*( --help)?$`)
	startsLike = regexp.MustCompile(`^(takumi-backup|scripts/\S+) \S`)
)

// snippets are the commands of a page: the lines of indented blocks, the blocks of SQL,
// the code in a table's column of commands, and the code in its text that begins as a
// command does.
func snippets(text string) (all []snippet) {
	mark, open := "", false // whether what the mark is for has begun
	paragraph, begun, column := "", 0, false
	flush := func() {
		for _, m := range codeForm.FindAllStringSubmatch(paragraph, -1) {
			if code := strings.Join(strings.Fields(m[1]), " "); startsLike.MatchString(code) {
				all = append(all, snippet{begun, code, mark, true})
			}
		}
		paragraph = ""
	}
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		switch {
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			flush()
			body := ""
			for i++; !strings.HasPrefix(strings.TrimSpace(lines[i]), "```"); i++ {
				body += lines[i] + "\n"
			}
			all = append(all, snippet{i, "psql -X -q -v ON_ERROR_STOP=1 -d postgres <<'END'\n" + body + "END", mark, false})
		case strings.HasPrefix(line, "    "):
			flush()
			at := i + 1
			for strings.HasSuffix(line, `\`) {
				i++
				line = strings.TrimSuffix(line, `\`) + lines[i]
			}
			open = true
			all = append(all, snippet{at, cronForm.ReplaceAllString(strings.TrimSpace(line), ""), mark, false})
		case markForm.MatchString(line):
			mark, open = markForm.FindStringSubmatch(line)[1], false
		case line == "":
			flush()
			column = false
		case strings.HasPrefix(line, "| ") && strings.HasSuffix(line, "| command |"):
			column = true
		case column:
			row := strings.Split(strings.ReplaceAll(line, `\|`, "\x00"), "|")
			for _, m := range codeForm.FindAllStringSubmatch(row[len(row)-2], -1) {
				if !strings.HasPrefix(m[1], "-") {
					all = append(all, snippet{i + 1, strings.ReplaceAll(m[1], "\x00", "|"), "", false})
				}
			}
		default:
			if paragraph == "" {
				if open {
					mark = ""
				}
				begun, open = i+1, true
			}
			paragraph += line + "\n"
		}
	}
	flush()
	return all
}

// instead is what stands for words of the pages on the host of the test: the first that
// fits is taken for what it matches, and all are tried in order.
type instead struct{ words, here string }

// pages are the pages, with how many of their commands do not run here.
var pages = map[string]struct {
	before  string // more of hostScript
	notRun  int
	long    bool // a minute, and so for TAKUMI_TEST_LONG
	instead []instead
	exits   map[string]int // by what a command begins with, where it is not 0
}{
	"README.md": {
		before: keysElsewhere + "pg_dump takumi >mnt/offsite/old/takumi_20250101_020000.sql\n",
		notRun: 8,
		instead: []instead{
			{`^takumi-backup key generate -o ~/backup.key`, `takumi-backup key generate -o new.key`},
			{`~/backup.key`, `$$H/etc/backup.key`},
			{`^takumi-backup key import -o KEYFILE`, `pdftotext -layout kit.pdf - | takumi-backup key import -o typed.key -`},
			{`ssh vault`, `sh -c`},
			{`--into COPY`, `--into copy`},
		},
		exits: map[string]int{"takumi-backup key retire K": 1}, // not before 30 days are over
	},
	"docs/OPERATIONS.md": {
		notRun: 1,
		long:   true,
		before: `pg_dump takumi >dump; createdb -T takumi takumi_before_20261123_031500
openssl enc -aes-256-cbc -pbkdf2 -pass file:root/old.pass -in dump -out mnt/offsite/old/takumi_20250101_020000.sql.enc
`,
		instead: []instead{
			{`^takumi-backup init`, `takumi-backup init --yes --dir init --user root --store init-store --database takumi --db-host "$$PGHOST" --db-user takumi ` +
				`--uploads "$$UPLOADS_DIR" --contracts= --scratch-dir srv/scratch`},
			{`^takumi-backup config migrate`, `$0 etc/backup.conf`},
			{`^takumi-backup config (validate|show)$`, `takumi-backup config $1 --config etc/backup.conf`},
			{`.*# it was dropped`, `psql -q -c 'DROP TABLE orders' && $0`},
			{`.* /mnt/usb`, `cp -r store/. mnt/usb && $0`},
			{`--shard 2/8 --report 2.json`, `--shard 1/8 --report 1.json s3://takumi-offsite/db1 && for i in 2 3 4 5 6 7 8; do takumi-backup verify --shard $$i/8 --report $$i.json s3://takumi-offsite/db1 || break; done #`},
			{`^takumi-backup drill`, `takumi-backup key export --passphrase -o media/stick/takumi.key && $0`},
			{`^takumi-backup ls s3`, `takumi-backup replicate store $$BUCKET/db1 && $0`},
			{`^takumi-backup key rotate --key (awssm:\S+)`, `takumi-backup key store --to $1 && $0`},
			{`^takumi-backup reencrypt --to (awssm:\S+) .*`, `$0 && takumi-backup reencrypt --from $1 --to "file:$$H/etc/backup.key" store`},
		},
		exits: map[string]int{"takumi-backup key retire 0": 1},
	},
	"docs/DISASTER_RECOVERY.md": { // the host of before is gone
		before: keysElsewhere + `takumi-backup key export --passphrase -o media/stick/takumi.key
takumi-backup key paper -o kit.pdf
takumi-backup key split --shares 5 --threshold 3 -o shares
takumi-backup backup all --globals --quiet
dropdb takumi; rm -r srv/takumi
`,
		instead: []instead{{`(combine -o /run/)takumi.key`, `${1}joined.key`}},
	},
}

// keysElsewhere makes the key, and has it in AWS and Vault.
const keysElsewhere = `
takumi-backup key generate -o etc/backup.key
takumi-backup key store --to awssm:takumi/production/BACKUP_ENCRYPTION_KEY
takumi-backup key store --to vault:secret/takumi/production/backup-encryption
`

// onHost is for all pages. $H is the host's root.
var onHost = []instead{
	{`(?:^|\w+=\S+ |&& )takumi-backup restore (?:database|uploads|contracts)`, `$0 --yes`}, // nobody is there to ask
	{`^takumi-backup serve`, `served takumi-backup serve --listen 127.0.0.1:0`},
	{`^takumi-backup install-timers`, `$0 --root "$$H/units"`},
	{`^sha256sum -c FILE.sha256`, `(cd "$$(dirname FILE)" && sha256sum -c FILE.sha256)`},
	{`--config FILE`, `--config "$$H/etc/backup.conf"`},
	{`FILE\.(html|prom)`, `"$$H/week.$1"`},
	{`\[ROOT\]|\bROOT\b`, `"$$BACKUP_ROOT"`},
	{`takumi_globals_TIME\.sql\.zst\.enc`, `"$$(newest database '*globals*.enc')"`},
	{`s3://bucket/database/FILE\.enc`, `"$$BUCKET/db1/database/$$(basename "$$(newest database 'takumi_db*.enc')")"`},
	{`s3://takumi-(offsite|backups)`, `$$BUCKET`},
	{`…-1\.tar\.zst\.enc`, `"$$(newest uploads)"`},
	{`--member PATH`, `--member public.orders -o "$$H/member"`},
	{`\bPATTERN\b`, `'avatars/*'`},
	{`diff FILE FILE`, `diff "$$(newest uploads)" "$$UPLOADS_DIR"`},
	{`^(.*(?:uploads|avatars).*)\bFILE\b`, `$1"$$(newest uploads)"`},
	{`\bFILE (.*(?:uploads|avatars))`, `"$$(newest uploads)" $1`},
	{`^(.*contracts.*)\bFILE(\.enc)?\b`, `$1"$$(newest contracts)"`},
	{`\bFILE(\.enc)?\b`, `"$$(newest database 'takumi_db*.enc')"`},
	{`59c85456`, `"$$(takumi-backup inspect --json "$$(newest database 'takumi_db*.enc')" | jq -r .id | cut -c1-12)"`},
	{`0123456789abcdef|\bKEYID\b`, `"$$(takumi-backup key history --json | jq -r "select(.retired).key_id" | head -n 1)"`},
	{`(-(?:-scratch-dir|o|-to)|man|openssl-cbc) DIR`, `$1 "$$(folder $1)"`},
	{`\bURI\b`, `"file:$$H/etc/backup.key"`},
	{`KEYFILE (".*)`, `"$$H/etc/backup.key" $1`},
	{`-o KEYFILE`, `-o "$$H/again-$$RANDOM.key"`},
	{`SHARE(\.\.\.| SHARE SHARE)`, `shares/share-[1-3]-*`},
	{`PHOTO…`, `"$$H/kit.pdf"`},
	{`https://…`, `http://127.0.0.1:1`},
	{`ed25519:…`, `"$$(takumi-backup audit checkpoint --public-key)"`},
	{`psql …`, `psql -X -q -d copy_of_python`},
	{`/usr/local/bin/(takumi-backup)`, `$1`},
	{`/opt/takumi/scripts|^scripts`, `"$$REPO/scripts"`},
	{`/var/run/postgresql`, `$$PGHOST`},
	{`/var/backups/takumi`, `$$H/store`},
	{`(^|[\s:="])/etc/takumi-backup`, `$1$$H/etc`},
	{`(^|[\s:="])/(srv|mnt|media|root|run|tmp)/`, `$1$$H/$2/`},
}

// host is a machine that a page may be typed on: as root, in a folder, with a server of
// PostgreSQL, a bucket, secrets in AWS and Vault, and what there is to back up.
func host(t *testing.T, c *pgtest.Cluster) *sandbox {
	t.Helper()
	b := withCluster(t, c)
	b.exe = releaseBuild(t)
	var err error
	if b.dir, err = os.MkdirTemp("", "h"); err != nil { // where the server's user may enter
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(b.dir) })
	if err := os.Chmod(b.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	repo, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	secretkit.AWS(t, "takumi/production/BACKUP_ENCRYPTION_KEY")
	secrets := os.Getenv("AWS_ENDPOINT_URL")
	secretkit.Vault(t, "takumi/production/backup-encryption")
	web := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(web.Close)
	s3 := s3test.Shared(t)
	b.env = append(b.env, "H="+b.dir, "REPO="+repo, "HOME="+b.dir, "EXE="+filepath.Dir(b.exe),
		"BUCKET=s3://"+s3.Bucket(t), "AWS_ENDPOINT_URL_S3="+s3.Endpoint(), "AWS_ENDPOINT_URL_SECRETS_MANAGER="+secrets, "AWS_REGION="+s3test.Region,
		"AWS_ACCESS_KEY_ID="+s3test.AccessKey, "AWS_SECRET_ACCESS_KEY="+s3test.Secret, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull,
		"VAULT_ADDR="+os.Getenv("VAULT_ADDR"), "VAULT_TOKEN=t", "HEALTHCHECK_URL="+web.URL, "TAKUMI_PASSPHRASE_FILE="+filepath.Join(b.dir, "passphrase"))
	return b
}

// hostScript makes what is on the host, and what the pages need of a shell.
const hostScript = `
set -e
cd "$H"; PATH=$EXE:$PATH
mkdir -p etc store srv/takumi/uploads/avatars srv/takumi/contracts/src srv/scratch mnt/usb mnt/safe mnt/offsite/old media/stick root run tmp
chmod 755 srv srv/scratch
(umask 077; echo 'battery staple correct horse' | tee passphrase >root/old.pass)
echo picture >srv/takumi/uploads/avatars/7.png
printf '[profile.default]\n' >srv/takumi/contracts/foundry.toml
echo 'contract Skill {}' >srv/takumi/contracts/src/Skill.sol
cp -r srv/takumi/uploads srv/uploads; cp -r srv/takumi/contracts srv/contracts
export BACKUP_ROOT="$H/store" BACKUP_ENCRYPTION_KEY_FILE="$H/etc/backup.key" DB_HOST="$PGHOST" DB_NAME=takumi DB_USER=takumi
export UPLOADS_DIR="$H/srv/takumi/uploads" CONTRACTS_DIR="$H/srv/takumi/contracts" NETWORK=sepolia
export PGDATABASE=takumi
for name in BACKUP_ROOT BACKUP_ENCRYPTION_KEY_FILE DB_HOST DB_NAME DB_USER UPLOADS_DIR CONTRACTS_DIR NETWORK; do echo "$name=${!name}"; done >etc/backup.conf
chmod 600 etc/backup.conf
folder() { case $1 in --scratch-dir) echo srv/scratch ;; openssl-cbc) echo mnt/offsite/old ;; -o) echo shares ;; *) mktemp -u -p tmp ;; esac; }
newest() { ls -t "$BACKUP_ROOT/$1"/${2:-*.enc} | grep -v manifest | head -n 1; }
served() {
    "$@" >"$H/served" 2>&1 &
    for i in $(seq 6000); do grep -q http:// "$H/served" && break; sleep 0.05; done
    kill -TERM $!; wait $!; grep http:// "$H/served"
}
`

// TestPages: every command of the three pages that somebody reads at night does what the
// page says, typed in its order on a host that is as the page takes it to be.
func TestPages(t *testing.T) {
	needIntegration(t)
	c := pgtest.Start(t)
	for path, page := range pages {
		t.Run(filepath.Base(path), func(t *testing.T) {
			all := snippets(string(readFile(t, filepath.Join("../..", path))))
			notRun := 0
			for _, s := range all {
				if strings.HasPrefix(s.mark, "not run") {
					notRun++
				}
			}
			if notRun != page.notRun {
				t.Errorf("%d commands are marked as not run, want %d", notRun, page.notRun)
			}
			if page.long && os.Getenv("TAKUMI_TEST_LONG") == "" {
				t.Skip("set TAKUMI_TEST_LONG=1 to run them")
			}
			for _, db := range []string{"takumi", "shop_one", "copy_of_python", "NEW"} {
				createDB(t, c, db)
			}
			c.Psql(t, "takumi", "CREATE TABLE orders (id int PRIMARY KEY, what text); INSERT INTO orders SELECT i, 'order ' || i FROM generate_series(1, 100) i")
			b := host(t, c)
			script := hostScript + page.before + "set +e -o pipefail\nexec 3>ends\n"
			run, files := map[int]snippet{}, []string(nil)
			for n, s := range all {
				text, file := typed(s, page.instead)
				switch {
				case strings.HasPrefix(s.mark, "not run"), s.mark == "shown":
					continue
				case file != "":
					if !slices.Contains(files, file) {
						files = append(files, file)
						script += fmt.Sprintf(": >%[1]s; chmod 600 %[1]s\n", file)
					}
					script += fmt.Sprintf("cat >>%s <<END\n%s\nEND\n", file, text)
					continue
				}
				run[n] = s
				writeFile(t, b.path(fmt.Sprint("typed-", n)), []byte(text+"\n"))
				script += fmt.Sprintf(". ./typed-%[1]d </dev/null >said-%[1]d 2>&1; echo %[1]d $? >&3\n", n)
			}
			for _, file := range files {
				script += fmt.Sprintf("takumi-backup config validate --config %s || exit\n", file)
			}
			b.patience = 10 * time.Minute
			writeFile(t, b.path("type-all"), []byte(script))
			b.start(b.command("bash", "type-all")).exits(exitOK)
			for line := range strings.Lines(string(readFile(t, b.path("ends")))) {
				var n, code int
				if _, err := fmt.Sscan(line, &n, &code); err != nil {
					t.Fatal(err)
				}
				s := run[n]
				delete(run, n)
				want := 0
				for begins, other := range page.exits {
					if strings.HasPrefix(s.text, begins) {
						want = other
					}
				}
				said := readFile(t, b.path(fmt.Sprint("said-", n)))
				if code != want {
					t.Errorf("%s:%d: exit code %d, want %d\n%s\n%s", path, s.line, code, want, readFile(t, b.path(fmt.Sprint("typed-", n))), said)
				}
			}
			for _, s := range run {
				t.Errorf("%s:%d: %s was not run", path, s.line, s.text)
			}
		})
	}
}

// typed is what is typed for a snippet, or put into the file that its mark names.
func typed(s snippet, first []instead) (text, file string) {
	text = s.text
	if name, marked := strings.CutPrefix(s.mark, "file: /etc/takumi-backup/"); marked {
		file = "etc/" + name
	} else if s.prose && wordsForm.MatchString(text) {
		text = strings.TrimSuffix(text, " --help")
		return text + " --help | grep -F '" + text + "'", ""
	}
	for _, by := range slices.Concat(first, onHost) {
		text = regexp.MustCompile(by.words).ReplaceAllString(text, by.here)
	}
	return text, file
}
