package docs

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"go/types"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPublicSignaturesAreWhollyPublic: what an exported function, method, field, variable or
// type of a package outside internal names can be named by who imports it: it is not of
// internal, or a public package has an alias of it.
func TestPublicSignaturesAreWhollyPublic(t *testing.T) {
	isPublic := func(path string) bool {
		top, _, _ := strings.Cut(path, "/")
		return slices.Contains(floors[1:len(floors)-1], top)
	}
	load := &sources{files: token.NewFileSet(), loaded: make(map[string]*types.Package)}
	named := make(map[*types.TypeName]bool) // of internal, and of which a public package has an alias
	var packages []*types.Package
	list := exec.CommandContext(t.Context(), "go", "list", "-f", `{{if ne .Name "main"}}{{.ImportPath}}{{end}}`, "./...")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range strings.Fields(string(out)) {
		if !isPublic(strings.TrimPrefix(path, module)) {
			continue
		}
		p, err := load.Import(path)
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
		for _, name := range p.Scope().Names() {
			if alias, ok := p.Scope().Lookup(name).Type().(*types.Alias); ok && token.IsExported(name) {
				if to, ok := types.Unalias(alias).(*types.Named); ok {
					named[to.Obj()] = true
				}
			}
		}
	}
	w := &walk{named: named, seen: make(map[types.Type]bool), report: func(where string, hidden *types.TypeName) {
		t.Errorf("%s names %s.%s, which who imports it cannot", strings.TrimPrefix(where, module), strings.TrimPrefix(hidden.Pkg().Path(), module), hidden.Name())
	}}
	for _, p := range packages {
		for _, name := range p.Scope().Names() {
			if token.IsExported(name) {
				w.object(p.Path()+"."+name, p.Scope().Lookup(name))
			}
		}
	}
	if len(packages) < 40 {
		t.Errorf("only %d packages were seen", len(packages))
	}
}

// sources checks the declarations of this module's packages, and takes others for empty: what
// they declare is not of internal.
type sources struct {
	files  *token.FileSet
	loaded map[string]*types.Package
}

func (s *sources) Import(path string) (*types.Package, error) {
	if p := s.loaded[path]; p != nil {
		return p, nil
	}
	within, ours := strings.CutPrefix(path, module)
	if !ours {
		p := types.NewPackage(path, "")
		p.MarkComplete()
		s.loaded[path] = p
		return p, nil
	}
	dir, err := build.ImportDir(filepath.Join("..", filepath.FromSlash(within)), 0)
	if err != nil {
		return nil, err
	}
	var parsed []*ast.File
	for _, name := range dir.GoFiles {
		f, err := parser.ParseFile(s.files, filepath.Join(dir.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, f)
	}
	check := types.Config{Importer: s, IgnoreFuncBodies: true, Error: func(error) {}} // of the empty ones
	s.loaded[path], _ = check.Check(path, s.files, parsed, nil)
	return s.loaded[path], nil
}

// walk looks through all that an exported name shows.
type walk struct {
	named  map[*types.TypeName]bool
	seen   map[types.Type]bool // types whose fields and methods were looked through
	report func(where string, hidden *types.TypeName)
}

func (w *walk) object(where string, o types.Object) {
	if _, ok := o.(*types.TypeName); ok {
		w.within(where, types.Unalias(o.Type()))
		return
	}
	w.uses(where, o.Type())
}

// within looks through the fields and methods of a type.
func (w *walk) within(where string, t types.Type) {
	if w.seen[t] {
		return
	}
	w.seen[t] = true
	w.uses(where, t.Underlying())
	if n, ok := t.(*types.Named); ok {
		for m := range n.Methods() {
			if m.Exported() {
				w.uses(where+"."+m.Name(), m.Type())
			}
		}
	}
}

// uses looks through what a type is made of.
func (w *walk) uses(where string, t types.Type) {
	switch t := t.(type) {
	case *types.Alias:
		w.uses(where, types.Unalias(t))
	case *types.Named:
		for a := range t.TypeArgs().Types() {
			w.uses(where, a)
		}
		if p := t.Obj().Pkg(); p != nil && t.Obj().Exported() && strings.Contains(p.Path(), "takumi-backup/internal/") && !w.named[t.Obj()] {
			w.report(where, t.Obj())
		}
	case *types.Signature:
		w.uses(where, t.Params())
		w.uses(where, t.Results())
	case *types.Tuple:
		for v := range t.Variables() {
			w.uses(where, v.Type())
		}
	case *types.Struct:
		for f := range t.Fields() {
			if f.Exported() {
				w.uses(where+"."+f.Name(), f.Type())
			}
		}
	case *types.Interface:
		for m := range t.ExplicitMethods() {
			if m.Exported() {
				w.uses(where+"."+m.Name(), m.Type())
			}
		}
		for e := range t.EmbeddedTypes() {
			w.uses(where, e)
		}
	case *types.Map:
		w.uses(where, t.Key())
		w.uses(where, t.Elem())
	case interface{ Elem() types.Type }: // pointer, slice, array, channel
		w.uses(where, t.Elem())
	}
}
