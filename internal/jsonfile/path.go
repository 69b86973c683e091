package jsonfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/plexauth/plexauth/internal/fault"
)

// chain is the path of a file and, if symbolic links lead from it to another,
// each path on the way. Directories are resolved in all of them, so that all
// who come by links to the directory agree on the names. The last is the file.
type chain []string

func (c chain) target() string { return c[len(c)-1] }

// maxLinks is what Linux follows, too.
const maxLinks = 40

// resolve returns the chain as it is at this moment.
func (f *File) resolve() (chain, error) {
	if f.path == "" {
		return nil, fmt.Errorf("%w: NewFileStore was given no path", fault.ErrStore)
	}
	var c chain
	for name := f.path; ; {
		dir, err := filepath.EvalSymlinks(filepath.Dir(name))
		if err != nil {
			return f.unresolved(c, name, err)
		}
		name = filepath.Join(dir, filepath.Base(name))
		c = append(c, name)
		info, err := os.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist) && len(c) == 1: // a first run
			return c, nil
		case err != nil:
			return f.unresolved(c[:len(c)-1], name, err)
		case info.Mode()&fs.ModeSymlink == 0:
			if !info.Mode().IsRegular() {
				return nil, fmt.Errorf("%w: %s is not a regular file (%s): give the path of a JSON file", fault.ErrStore, name, info.Mode())
			}
			// A link may lead through ".." behind a linked directory, which
			// only a walk of the whole path follows right.
			if real, err := filepath.EvalSymlinks(f.path); err == nil && real != name {
				c = append(c, real)
			}
			return c, nil
		case len(c) > maxLinks:
			return nil, deadLink(f.path, f.path, errors.New("too many links"))
		}
		to, err := os.Readlink(name)
		if err != nil {
			return nil, explain(name, err)
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(dir, to)
		}
		name = to
	}
}

// unresolved judges a name that could not be followed, after the links of c. A
// missing directory is a first run, but a link that leads nowhere is not.
func (f *File) unresolved(c chain, name string, err error) (chain, error) {
	if len(c) > 0 {
		return nil, deadLink(f.path, c[len(c)-1], err)
	}
	for dir := filepath.Dir(name); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		info, lerr := os.Lstat(dir)
		if lerr != nil {
			continue
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			if _, serr := os.Stat(dir); serr != nil {
				return nil, deadLink(f.path, dir, serr)
			}
		}
		break
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, explain(name, err)
	}
	return chain{name}, nil
}

func deadLink(path, link string, err error) error {
	to, _ := os.Readlink(link)
	return fmt.Errorf("%w: %s: %s is a symbolic link to %s, which cannot be followed: mount or make what it leads to, or remove the link: %w", fault.ErrStore, path, link, to, err)
}

// fromCluster reports whether a path leads into a Secret or ConfigMap that
// Kubernetes has mounted: it switches their content by the link "..data".
func (c chain) fromCluster() bool {
	return slices.ContainsFunc(c, func(name string) bool {
		if _, err := os.Lstat(filepath.Join(filepath.Dir(name), "..data")); err == nil {
			return true
		}
		return slices.ContainsFunc(strings.Split(filepath.ToSlash(filepath.Dir(name)), "/"), func(part string) bool {
			return part == "..data" || strings.HasPrefix(part, "..2")
		})
	})
}

var errFromCluster = errors.New("it comes from a Kubernetes Secret or ConfigMap, which a program cannot write: copy it into a volume, for example by an init container, and give the path of the copy")
