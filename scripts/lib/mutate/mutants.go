package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
)

type mutant struct {
	file, function, kind, with string
	source                     []byte
	from, to, line             int
}

func (m mutant) text() []byte {
	return bytes.Join([][]byte{m.source[:m.from], []byte(m.with), m.source[m.to:]}, nil)
}

func (m mutant) String() string { return fmt.Sprintf("%s:%d: %s", m.file, m.line, m.change()) }

func (m mutant) change() string {
	was, _, _ := strings.Cut(string(m.source[m.from:m.to]), "\n")
	with, _, _ := strings.Cut(m.with, "\n")
	return strings.TrimSpace(fmt.Sprintf("%s: %s -> %s", m.kind, was, with))
}

// name says which mutant it is, wherever its line has moved to, in two lines.
func (m mutant) name(file string) string {
	begin := bytes.LastIndexByte(m.source[:m.from], '\n') + 1
	line, _, _ := bytes.Cut(m.source[begin:], []byte("\n"))
	return fmt.Sprintf("%s %s: %s\n%s", file, m.function, m.change(), bytes.TrimSpace(line))
}

type span struct{ fromLine, fromColumn, toLine, toColumn int }

func (s span) holds(p token.Position) bool {
	return (p.Line > s.fromLine || p.Line == s.fromLine && p.Column >= s.fromColumn) &&
		(p.Line < s.toLine || p.Line == s.toLine && p.Column < s.toColumn)
}

// readProfile returns the blocks that tests reach, by the import path of the file.
func readProfile(path string) (map[string][]span, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	covered := make(map[string][]span)
	for line := range strings.Lines(string(text)) {
		var s span
		var statements, count int
		file, rest, isBlock := strings.Cut(line, ".go:")
		if !isBlock {
			continue // the mode
		}
		if _, err := fmt.Sscanf(rest, "%d.%d,%d.%d %d %d", &s.fromLine, &s.fromColumn, &s.toLine, &s.toColumn, &statements, &count); err != nil {
			return nil, fmt.Errorf("reading the coverage: %q: %w", line, err)
		}
		if count > 0 {
			covered[file+".go"] = append(covered[file+".go"], s)
		}
	}
	return covered, nil
}

type finder struct {
	file    string
	source  []byte
	set     *token.FileSet
	covered []span
	within  string // function
	found   []mutant
}

func mutants(path string, covered []span) ([]mutant, error) {
	source, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := &finder{file: path, source: source, set: token.NewFileSet(), covered: covered}
	tree, err := parser.ParseFile(f.set, path, source, 0)
	if err != nil {
		return nil, err
	}
	for _, d := range tree.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
			f.within = fn.Name.Name
			ast.Inspect(fn.Body, f.node)
		}
	}
	return f.found, nil
}

func (f *finder) add(kind string, n ast.Node, with string) {
	f.replace(kind, n.Pos(), n.End(), with)
}

// replace makes a mutant with other text there, if a test comes by.
func (f *finder) replace(kind string, from, to token.Pos, with string) {
	at := f.set.Position(from)
	for _, s := range f.covered {
		if s.holds(at) {
			f.found = append(f.found, mutant{f.file, f.within, kind, with, f.source, at.Offset, f.set.Position(to).Offset, at.Line})
			return
		}
	}
}

func (f *finder) text(n ast.Node) string {
	return string(f.source[f.set.Position(n.Pos()).Offset:f.set.Position(n.End()).Offset])
}

// flips are what a comparison becomes.
var flips = map[token.Token]string{
	token.LSS: "<=", token.LEQ: "<", token.GTR: ">=", token.GEQ: ">", token.EQL: "!=", token.NEQ: "==",
}

func (f *finder) node(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.ExprStmt:
		if _, ok := n.X.(*ast.CallExpr); ok {
			f.add("skipped call", n, "")
		}
	case *ast.DeferStmt:
		f.add("skipped defer", n, "")
	case *ast.IncDecStmt, *ast.SendStmt:
		f.add("removed statement", n, "")
	case *ast.AssignStmt:
		f.assign(n)
	case *ast.ReturnStmt:
		f.returned(n)
	case *ast.IfStmt:
		if c, ok := n.Cond.(*ast.BinaryExpr); ok && c.Op == token.NEQ && isNil(c.Y) {
			f.add("dropped error", n.Cond, f.text(n.Cond)+" && false")
		} else {
			f.add("condition", n.Cond, "!("+f.text(n.Cond)+")")
		}
	case *ast.BinaryExpr:
		f.binary(n)
	}
	return true
}

func (f *finder) assign(n *ast.AssignStmt) {
	if n.Tok == token.DEFINE {
		return // what it defines is used
	}
	f.add("removed statement", n, "")
	if last := n.Lhs[len(n.Lhs)-1]; isError(last) {
		f.add("dropped error", last, "_")
	}
}

func (f *finder) returned(n *ast.ReturnStmt) {
	if len(n.Results) == 0 {
		return
	}
	last := n.Results[len(n.Results)-1]
	if call, ok := last.(*ast.CallExpr); isError(last) || ok && (f.text(call.Fun) == "fmt.Errorf" || f.text(call.Fun) == "errors.Join") {
		f.add("dropped error", last, "nil")
	}
}

func (f *finder) binary(n *ast.BinaryExpr) {
	if n.Op == token.LAND || n.Op == token.LOR {
		f.add("half of a condition", n, "("+f.text(n.X)+")")
		f.add("half of a condition", n, "("+f.text(n.Y)+")")
		return
	}
	if with, ok := flips[n.Op]; ok && !isNil(n.Y) {
		f.replace("boundary", n.OpPos, n.OpPos+token.Pos(len(n.Op.String())), with)
	}
}

func isNil(e ast.Expr) bool { id, ok := e.(*ast.Ident); return ok && id.Name == "nil" }

func isError(e ast.Expr) bool { id, ok := e.(*ast.Ident); return ok && id.Name == "err" }
