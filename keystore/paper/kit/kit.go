// Package kit makes the paper kit, which is what goes into the safe: pages with
// a key or a share as a QR code and as text, and what to do with them. It also
// reads QR codes back from scanned pages.
//
// Call [HTML] or [PDF] for pages to print, [PNG] for one image, [Terminal] to
// show a code, and [Scan] to read one.
//
// What these functions return is as secret as the keys in it. Their errors name
// blocks by their labels and repeat nothing that was read.
package kit

import (
	"fmt"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/agekey"
	"github.com/takumi-backup/takumi-backup/keystore/paper"
)

// page is what is on a page, in whatever form it is printed.
type page struct {
	Title    string
	What     string
	Facts    []fact
	Text     string
	Restore  []step
	Warnings []string
	code     code
}

type fact struct{ Name, Value string }

type step struct {
	Words    string
	Commands []string
}

func newPages(blocks []*paper.Block, date time.Time) ([]page, error) {
	var pages []page
	for _, b := range blocks {
		c, err := newCode(b)
		if err != nil {
			return nil, err
		}
		p := page{Text: string(b.Text()), code: c}
		p.describe(b.Label, date)
		if secret, err := b.Secret(); err == nil {
			if seed, ok := secret.(*agekey.Seed); ok {
				p.identity(seed)
			}
			secret.Wipe()
		}
		pages = append(pages, p)
	}
	return pages, nil
}

func (p *page) describe(l paper.Label, date time.Time) {
	p.Facts = []fact{{"Key id", string(l.KeyID)}, {"Date", date.UTC().Format(time.DateOnly)}}
	p.Warnings = []string{
		"Never photograph this page, and never copy it on a machine that keeps copies or sends them somewhere.",
		"Never keep it with the backups, or with anything that leads to them.",
		"Once it is printed and read back, delete the file that it was printed from.",
	}
	if l.Kind == paper.KindShare {
		p.Title = fmt.Sprintf("Backup key, share %d of %d", l.Number, l.Total)
		p.What = fmt.Sprintf("This is one of %d shares of the key that opens the backups of takumi-backup. Any %d of them restore it; "+
			"fewer say nothing about it. It is for one custodian, who keeps it locked away and apart from the others.", l.Total, l.Threshold)
		p.Facts = append(p.Facts, fact{"Set", l.Set}, fact{"Share", fmt.Sprintf("%d of %d", l.Number, l.Total)},
			fact{"Needed", fmt.Sprintf("%d shares", l.Threshold)})
		p.Warnings = append(p.Warnings, "Never bring shares together but to restore the key.")
		p.Restore = []step{
			{fmt.Sprintf("With takumi-backup: gather %d pages of set %s and type the lines when asked, or scan the codes.", l.Threshold, l.Set),
				[]string{"takumi-backup key combine -o KEYFILE", "takumi-backup key scan -o KEYFILE IMAGE IMAGE ..."}},
			recovery(fmt.Sprintf("type the lines of %d pages into the file KEY.txt.", l.Threshold)),
		}
		return
	}
	p.Title = "Backup key"
	p.What = "This is the key that opens the backups of takumi-backup. Whoever has it and a backup can read the backup; " +
		"without it, backups sealed for it alone are lost."
	p.Restore = []step{
		{"With takumi-backup: type the lines when asked, or scan the code.",
			[]string{"takumi-backup key import -o KEYFILE", "takumi-backup key scan -o KEYFILE IMAGE"}},
		recovery("type the lines into the file KEY.txt."),
	}
}

func (p *page) identity(seed *agekey.Seed) {
	p.Title = "Backup identity"
	p.What = "This is the age identity that opens the backups that takumi-backup has sealed for its recipient. Whoever has it and a backup can read the backup; " +
		"without it, backups sealed for it alone are lost."
	p.Facts[0].Name = "Hint"
	version := "age"
	if seed.PostQuantum() {
		version = "age 1.3 or later"
	}
	p.Restore[1] = step{"Without it, with " + version + ": the line below is the identity, for a file ID. A slot of the backup, decoded from base64, " +
		"gives the data key, with which scripts/recover.py goes on.", []string{seed.Line(), "grep -a -m1 '^slot age ' BACKUP | cut -d' ' -f4 | base64 -d | age -d -i ID |", "  python3 recover.py --data-key-from - BACKUP | zstd -d > FILE"}}
}

// recovery is how it goes without this program.
func recovery(words string) step {
	return step{"Without it, with Python and the project's scripts/recover.py: " + words +
		" How to read them is in docs/FORMAT.md, section 16.",
		[]string{"python3 recover.py --written KEY.txt BACKUP | zstd -d > FILE"}}
}

// closing is what every page ends with.
var closing = []string{"Custodian", "Signature", "Date"}

func (p *page) lines() []string { return strings.Split(strings.TrimSuffix(p.Text, "\n"), "\n") }
