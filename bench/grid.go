package main

import (
	"strings"
	"unicode/utf8"
)

// grid is a table, for the terminal and for Markdown.
type grid struct {
	title string
	head  []string
	left  int // as many columns stand to the left; the others are figures
	rows  [][]string
}

func (g *grid) add(cells ...string) { g.rows = append(g.rows, cells) }

func (g *grid) empty() bool { return len(g.rows) == 0 }

// text lays the grid out for a terminal.
func (g *grid) text() string {
	lines := append([][]string{g.head}, g.rows...)
	var widths []int
	for _, line := range lines {
		for i, cell := range line {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(plainText(cell)))
		}
	}
	var b strings.Builder
	b.WriteString("\n" + g.title + "\n")
	for _, line := range lines {
		var row strings.Builder
		for i, cell := range line {
			cell = plainText(cell)
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i < g.left {
				row.WriteString("  " + cell + pad)
			} else {
				row.WriteString("  " + pad + cell)
			}
		}
		b.WriteString(strings.TrimRight(row.String(), " ") + "\n")
	}
	return b.String()
}

func plainText(cell string) string { return strings.NewReplacer("**", "", "`", "").Replace(cell) }

// markdown lays the grid out as a table.
func (g *grid) markdown() string {
	var b strings.Builder
	line := func(cells []string) {
		for i := range g.head {
			cell := ""
			if i < len(cells) {
				cell = strings.ReplaceAll(cells[i], "|", `\|`)
			}
			b.WriteString("| " + cell + " ")
		}
		b.WriteString("|\n")
	}
	line(g.head)
	for i := range g.head {
		if i < g.left {
			b.WriteString("|---")
		} else {
			b.WriteString("|--:")
		}
	}
	b.WriteString("|\n")
	for _, row := range g.rows {
		line(row)
	}
	return b.String()
}
