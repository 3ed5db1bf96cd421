package kit

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"strings"

	"github.com/skip2/go-qrcode"

	"github.com/takumi-backup/takumi-backup/keystore/paper"
)

// code is a QR code: rows of modules, true where it is dark, with the quiet zone
// of four modules that ISO/IEC 18004 asks for.
type code [][]bool

// newCode returns the QR code of the block's compact form, at the recovery level
// that go-qrcode calls High: a quarter of it may be unreadable.
func newCode(b *paper.Block) (code, error) {
	text := b.Compact()
	defer clear(text)
	q, err := qrcode.New(string(text), qrcode.High)
	if err != nil {
		return nil, fmt.Errorf("the QR code of %v: %w", b.Label, err)
	}
	return q.Bitmap(), nil
}

// path draws the dark modules as one path of SVG, a unit for each module.
func (c code) path() string {
	var d strings.Builder
	for y, row := range c {
		for x := 0; x < len(row); {
			run := x
			for run < len(row) && row[run] {
				run++
			}
			if run > x {
				fmt.Fprintf(&d, "M%d %dh%dv1h-%dz", x, y, run-x, run-x)
			}
			x = max(run, x+1)
		}
	}
	return d.String()
}

func (c code) image(scale int) *image.Gray {
	size := len(c) * scale
	img := image.NewGray(image.Rect(0, 0, size, size))
	for y := range size {
		for x := range size {
			if !c[y/scale][x/scale] {
				img.SetGray(x, y, color.Gray{Y: 255})
			}
		}
	}
	return img
}

func (c code) png(scale int) ([]byte, error) {
	var out bytes.Buffer
	err := png.Encode(&out, c.image(scale))
	return out.Bytes(), err
}

// terminal draws two rows of modules in each line of text. The colours are set,
// and are those of the 256 that no theme changes, so that dark is dark on every
// terminal: many readers refuse an inverted code.
func (c code) terminal() []byte {
	const blackOnWhite, reset = "\x1b[38;5;16;48;5;231m", "\x1b[0m"
	var out bytes.Buffer
	for y := 0; y < len(c); y += 2 {
		out.WriteString(blackOnWhite)
		for x, top := range c[y] {
			bottom := y+1 < len(c) && c[y+1][x]
			switch {
			case top && bottom:
				out.WriteRune('█')
			case top:
				out.WriteRune('▀')
			case bottom:
				out.WriteRune('▄')
			default:
				out.WriteByte(' ')
			}
		}
		out.WriteString(reset + "\n")
	}
	return out.Bytes()
}

// Terminal returns the QR code of a block and its text for a terminal: black on
// white whatever the terminal's colours. It is as secret as the block.
func Terminal(b *paper.Block) ([]byte, error) {
	c, err := newCode(b)
	if err != nil {
		return nil, err
	}
	return append(append(c.terminal(), '\n'), b.Text()...), nil
}
