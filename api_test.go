package plexauth_test

import (
	"bytes"
	"flag"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares with a file in testdata, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, string(want), got, "if this change is meant: go test -run %s -update .", t.Name())
}

// The exported API as text, so that its growth is seen.
func TestAPI(t *testing.T) {
	root := api(t, ".", "plexauth")
	var all []string
	for _, line := range append(api(t, "signin", "signin"), fields(t, "signin")...) {
		all = append(all, "signin: "+line)
	}
	slices.Sort(all)
	golden(t, "api.txt", strings.Join(append(slices.Clone(root), all...), "\n")+"\n")
	assert.LessOrEqual(t, len(root), 104, "ask of each name whether a caller needs it")
}

// parsed returns the documentation of the package in a directory.
func parsed(t *testing.T, dir, name string) (*token.FileSet, *doc.Package) {
	t.Helper()
	files := token.NewFileSet()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	var astFiles []*ast.File
	for _, file := range names {
		f, err := parser.ParseFile(files, file, nil, 0)
		require.NoError(t, err)
		if f.Name.Name == name && !strings.HasSuffix(file, "_test.go") {
			astFiles = append(astFiles, f)
		}
	}
	p, err := doc.NewFromFiles(files, astFiles, "github.com/plexauth/plexauth")
	require.NoError(t, err)
	return files, p
}

// api returns the exported names of the package in a directory, sorted.
func api(t *testing.T, dir, name string) (lines []string) {
	t.Helper()
	files, p := parsed(t, dir, name)
	add := func(kind, name string, node any) {
		var b strings.Builder
		require.NoError(t, printer.Fprint(&b, files, node))
		lines = append(lines, kind+" "+name+strings.TrimPrefix(b.String(), "func"))
	}
	values := func(kind string, groups []*doc.Value) {
		for _, g := range groups {
			for _, name := range g.Names {
				if ast.IsExported(name) {
					lines = append(lines, kind+" "+name)
				}
			}
		}
	}
	funcs := func(receiver string, list []*doc.Func) {
		for _, f := range list {
			add("func", receiver+f.Name, f.Decl.Type)
		}
	}
	values("const", p.Consts)
	values("var", p.Vars)
	funcs("", p.Funcs)
	for _, typ := range p.Types {
		lines = append(lines, "type "+typ.Name)
		values("const", typ.Consts)
		values("var", typ.Vars)
		funcs("", typ.Funcs)
		for _, m := range typ.Methods {
			add("func", "("+m.Recv+") "+m.Name, m.Decl.Type)
		}
	}
	slices.Sort(lines)
	return lines
}

// fields returns the exported fields of the structs of a package.
func fields(t *testing.T, name string) (lines []string) {
	t.Helper()
	files, p := parsed(t, name, name)
	for _, typ := range p.Types {
		s, ok := typ.Decl.Specs[0].(*ast.TypeSpec).Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, f := range s.Fields.List {
			var b strings.Builder
			require.NoError(t, printer.Fprint(&b, files, f.Type))
			for _, n := range f.Names {
				if n.IsExported() {
					lines = append(lines, "field "+typ.Name+"."+n.Name+" "+b.String())
				}
			}
		}
	}
	return lines
}

// The packages that an importer of the root takes in.
func TestPackages(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	require.NoError(t, err)
	lines := strings.Fields(string(out))
	slices.Sort(lines)
	golden(t, "packages.txt", strings.Join(lines, "\n")+"\n")
}

// Packages import each other downwards only: this list is the map that
// docs/architecture.md explains.
func TestImports(t *testing.T) {
	const module = "github.com/plexauth/plexauth"
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "./...").Output()
	require.NoError(t, err)
	var lines []string
	for line := range strings.Lines(string(out)) {
		names := strings.Fields(line)
		arrows := []string{strings.Replace(names[0], module, ".", 1), "->"}
		for _, name := range names[1:] {
			if name == module || strings.HasPrefix(name, module+"/") {
				arrows = append(arrows, strings.Replace(name, module, ".", 1))
			}
		}
		lines = append(lines, strings.Join(arrows, " "))
	}
	slices.Sort(lines)
	golden(t, "imports.txt", strings.Join(lines, "\n")+"\n")
}

// The root package stays one that a person can hold in the head: few files of nouns, none
// of them long. What grows beyond that belongs into a package below.
func TestRootStaysSmall(t *testing.T) {
	const mostFiles, mostLines, mostInFile = 25, 5500, 450
	names, err := filepath.Glob("*.go")
	require.NoError(t, err)
	files, lines := 0, 0
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		n := bytes.Count(b, []byte("\n"))
		files, lines = files+1, lines+n
		assert.LessOrEqual(t, n, mostInFile, name)
	}
	assert.LessOrEqual(t, files, mostFiles)
	assert.LessOrEqual(t, lines, mostLines)
	for _, name := range []string{"plexauth.go", "pin.go", "capabilities.go", "config.go", "log.go", "html.go", "plexauth_test.go"} {
		assert.FileExists(t, name, "programs and people look for it there")
	}
}
