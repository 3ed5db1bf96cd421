package kit

import (
	_ "embed"
	"html/template"
	"io"
	"time"

	"github.com/takumi-backup/takumi-backup/keystore/paper"
)

//go:embed kit.html.tmpl
var layout string

var htmlKit = template.Must(template.New("kit").Parse(layout))

// HTML writes the kit as one HTML file that loads nothing from elsewhere: a page
// for each block, for A4 and Letter.
func HTML(w io.Writer, blocks []*paper.Block, date time.Time) error {
	pages, err := newPages(blocks, date)
	if err != nil {
		return err
	}
	return htmlKit.Execute(w, map[string]any{"Pages": pages, "Closing": closing})
}
