package kit

import (
	"bytes"
	"io"
	"strconv"
	"time"

	"codeberg.org/go-pdf/fpdf"

	"github.com/takumi-backup/takumi-backup/keystore/paper"
)

// Millimetres on A4. What is printed ends above the lower edge of Letter, which is
// wider and 17.6 mm shorter.
const (
	pdfMargin = 18.0
	pdfWidth  = 210 - 2*pdfMargin
	pdfTop    = 14.0
	pdfCode   = 76.0
	pdfSigned = 252.0
)

// PDF writes the kit as a PDF file: a page of A4 for each block, which fits Letter
// too.
func PDF(w io.Writer, blocks []*paper.Block, date time.Time) error {
	pages, err := newPages(blocks, date)
	if err != nil {
		return err
	}
	pdf := fpdf.New("P", "mm", "A4", "")
	pdf.SetTitle("takumi-backup paper kit", false)
	pdf.SetLang("en")
	pdf.SetCreationDate(date)
	pdf.SetModificationDate(date)
	pdf.SetMargins(pdfMargin, pdfTop, pdfMargin)
	pdf.SetAutoPageBreak(false, 0)
	for i := range pages {
		if err := pages[i].print(pdf, "code"+strconv.Itoa(i)); err != nil {
			return err
		}
	}
	return pdf.Output(w)
}

// print adds the page to pdf, with its code under the given name.
func (p *page) print(pdf *fpdf.Fpdf, name string) error {
	image, err := p.code.png(8)
	if err != nil {
		return err
	}
	say := func(style string, size, line float64, words string) {
		pdf.SetFont("Helvetica", style, size)
		pdf.MultiCell(pdfWidth, line, words, "", "L", false)
	}
	pdf.AddPage()
	say("B", 17, 9, p.Title)
	say("", 10, 4.8, p.What)

	top := pdf.GetY() + 1
	options := fpdf.ImageOptions{ImageType: "PNG"}
	pdf.RegisterImageOptionsReader(name, options, bytes.NewReader(image))
	pdf.ImageOptions(name, pdfMargin, top, pdfCode, pdfCode, false, options, 0, "")
	for i, f := range p.Facts {
		pdf.SetXY(pdfMargin+pdfCode+6, top+24+7*float64(i))
		pdf.SetFont("Helvetica", "B", 10)
		pdf.CellFormat(20, 6, f.Name, "", 0, "L", false, 0, "")
		pdf.SetFont("Courier", "", 11)
		pdf.CellFormat(0, 6, f.Value, "", 0, "L", false, 0, "")
	}

	lines := p.lines()
	const height = 5.8
	pdf.SetXY(pdfMargin, top+pdfCode+1)
	pdf.Rect(pdfMargin, pdf.GetY(), pdfWidth, height*float64(len(lines))+5, "D")
	pdf.SetFont("Courier", "B", 13)
	for i, line := range lines {
		pdf.SetXY(pdfMargin+4, top+pdfCode+3.5+height*float64(i))
		pdf.CellFormat(0, height, line, "", 0, "L", false, 0, "")
	}
	pdf.SetXY(pdfMargin, pdf.GetY()+height+5)

	say("B", 11, 6, "To restore the key")
	for _, s := range p.Restore {
		say("", 10, 4.8, s.Words)
		pdf.SetFont("Courier", "", 9.5)
		for _, c := range s.Commands {
			pdf.SetX(pdfMargin + 6)
			pdf.MultiCell(pdfWidth-6, 4.8, c, "", "L", false)
		}
		pdf.Ln(1)
	}
	say("B", 11, 6, "Keep it safe")
	for _, w := range p.Warnings {
		say("", 10, 4.8, "- "+w)
	}

	pdf.SetFont("Helvetica", "", 9)
	column := pdfWidth / float64(len(closing))
	for i, c := range closing {
		x := pdfMargin + column*float64(i)
		pdf.Line(x, pdfSigned, x+column-6, pdfSigned)
		pdf.SetXY(x, pdfSigned+1)
		pdf.CellFormat(column, 5, c, "", 0, "L", false, 0, "")
	}
	return pdf.Error()
}
