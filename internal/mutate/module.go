package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A module is the program: its packages with all their mutants, and the tests.
type module struct {
	root    string
	mutants []*mutant
	overlay map[string][]byte // a file's path to its source with switches
	tests   []*testPackage
}

// A testPackage is a package with tests, built with all mutants.
type testPackage struct {
	path, dir, binary string
	cases             []testCase
}

// A listed package is what "go list" says of it.
type listed struct {
	ImportPath, Dir, Name string
	GoFiles               []string
}

func moduleRoot() (string, error) {
	out, err := goCommand(".", "env", "GOMOD")
	if err != nil {
		return "", err
	}
	name := strings.TrimSpace(string(out))
	if name == "" || name == os.DevNull {
		return "", fmt.Errorf("not inside a module")
	}
	return filepath.Dir(name), nil
}

func goCommand(dir string, args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return out, nil
}

func list(dir, pattern string) ([]listed, error) {
	out, err := goCommand(dir, "list", "-json=ImportPath,Dir,Name,GoFiles", pattern)
	if err != nil {
		return nil, err
	}
	var packages []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); err == io.EOF {
			return packages, nil
		} else if err != nil {
			return nil, err
		}
		packages = append(packages, p)
	}
}

// loadModule finds the mutants of the root package and of those that it imports, and
// marks the ones in packages that match patterns.
func loadModule(root string, patterns []string) (*module, error) {
	all, err := list(root, "./...")
	if err != nil {
		return nil, err
	}
	deps, err := goCommand(root, "list", "-deps", ".")
	if err != nil {
		return nil, err
	}
	program := strings.Fields(string(deps))
	var chosen []string
	if len(patterns) > 0 {
		out, err := goCommand(root, append([]string{"list"}, patterns...)...)
		if err != nil {
			return nil, err
		}
		chosen = strings.Fields(string(out))
	}
	m := &module{root: root, overlay: map[string][]byte{}}
	if m.tests, err = testsOf(root, program); err != nil {
		return nil, err
	}
	for _, p := range all {
		if !slices.Contains(program, p.ImportPath) {
			continue
		}
		mutants, err := m.instrument(p)
		if err != nil {
			return nil, err
		}
		for _, x := range mutants {
			x.selected = len(patterns) == 0 || slices.Contains(chosen, p.ImportPath)
		}
		m.mutants = append(m.mutants, mutants...)
	}
	for _, path := range chosen {
		if !slices.Contains(program, path) {
			return nil, fmt.Errorf("%s is no part of the program: %s does not import it", path, root)
		}
	}
	return m, nil
}

// testsOf returns the packages whose tests need one of program.
func testsOf(root string, program []string) ([]*testPackage, error) {
	const format = `{{if .ForTest}}{{else if eq .Name "main"}}{{.ImportPath}} {{.Dir}} {{join .Deps " "}}{{end}}`
	out, err := goCommand(root, "list", "-test", "-f", format, "./...")
	if err != nil {
		return nil, err
	}
	var tests []*testPackage
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		path, isTest := strings.CutSuffix(words[0], ".test")
		needs := func(dep string) bool { return slices.Contains(program, dep) }
		if isTest && slices.ContainsFunc(words[2:], needs) {
			tests = append(tests, &testPackage{path: path, dir: words[1]})
		}
	}
	return tests, nil
}

// leaveOutOtherTests keeps the tests of the packages whose mutants are selected.
func (m *module) leaveOutOtherTests() {
	m.tests = slices.DeleteFunc(m.tests, func(t *testPackage) bool {
		return !slices.ContainsFunc(m.mutants, func(x *mutant) bool { return x.selected && x.pkg == t.path })
	})
}

// instrument adds the files of p, with switches for its mutants, to the overlay.
func (m *module) instrument(p listed) ([]*mutant, error) {
	in := &instrumenter{pkg: p.ImportPath, seen: map[string]int{}}
	for _, name := range p.GoFiles {
		path := filepath.Join(p.Dir, name)
		src, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		relative, err := filepath.Rel(m.root, path)
		if err != nil {
			return nil, err
		}
		if m.overlay[path], err = in.file(filepath.ToSlash(relative), src); err != nil {
			return nil, err
		}
	}
	m.overlay[filepath.Join(p.Dir, "mutants_of_this_package.go")] =
		fmt.Appendf(nil, switchSource, p.Name, p.ImportPath, len(in.mutants)+2)
	return in.mutants, nil
}

// build writes the overlay and builds all test binaries. What it puts into them does not
// depend on the directory.
func (m *module) build(work string, progress io.Writer) error {
	bin, src := filepath.Join(work, "bin"), filepath.Join(work, "src")
	for _, dir := range []string{bin, src} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	replace := map[string]string{}
	for path, b := range m.overlay {
		// A name that depends on the content leaves unchanged files as they are.
		name := filepath.Join(src, fmt.Sprintf("%x.go", sha256.Sum256(append([]byte(path+"\n"), b...))))
		if err := os.WriteFile(name, b, 0o600); err != nil {
			return err
		}
		replace[path] = name
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	overlayFile := filepath.Join(work, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		return err
	}
	for _, t := range m.tests {
		fmt.Fprintln(progress, "building the tests of", t.path)
		t.binary = filepath.Join(bin, strings.ReplaceAll(t.path, "/", "_")+".test")
		if _, err := goCommand(m.root, "test", "-c", "-trimpath", "-overlay", overlayFile, "-o", t.binary, t.path); err != nil {
			return err
		}
	}
	return nil
}
