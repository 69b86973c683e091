//go:build unix && !linux

package jsonfile

import "errors"

func isMountPoint(string) bool { return false }

func localLocks(string) string { return "" }

func mayBeShared(string) bool { return false }

func renameNew(string, string) error { return errors.ErrUnsupported }
