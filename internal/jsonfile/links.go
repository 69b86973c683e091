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

// chain is the path of a file. If the path is a symbolic link, chain contains each path from
// the link to the file. The last one is the file. Links to the directories are resolved in all
// paths, so that programs that use different links to a directory get the same paths.
type chain []string

func (c chain) target() string { return c[len(c)-1] }

// maxLinks is the limit of Linux.
const maxLinks = 40

// resolve returns the present chain.
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
			// If a link contains ".." after a linked directory, only EvalSymlinks of the
			// whole path resolves it right.
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

// unresolved returns the result of resolve if name, after the links in c, could not be
// resolved. If a directory does not exist, it is a first run. If a link leads nowhere, it is an
// error.
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
	return fmt.Errorf("%w: %s: %s is a symbolic link to %s, which does not exist or cannot be read: mount or create it, or remove the link: %w", fault.ErrStore, path, link, to, err)
}

// isKubernetesVolume reports whether a path is in a Secret or ConfigMap that Kubernetes has
// mounted. Kubernetes replaces its content with the link "..data".
func (c chain) isKubernetesVolume() bool {
	return slices.ContainsFunc(c, func(name string) bool {
		if _, err := os.Lstat(filepath.Join(filepath.Dir(name), "..data")); err == nil {
			return true
		}
		return slices.ContainsFunc(strings.Split(filepath.ToSlash(filepath.Dir(name)), "/"), func(part string) bool {
			return part == "..data" || strings.HasPrefix(part, "..2")
		})
	})
}

var errKubernetesVolume = errors.New("it comes from a Kubernetes Secret or ConfigMap, which a program cannot write: copy it into a volume, for example by an init container, and give the path of the copy")
