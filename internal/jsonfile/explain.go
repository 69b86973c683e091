package jsonfile

import (
	"errors"
	"fmt"

	"github.com/plexauth/plexauth/internal/fault"
)

// errMounted is the error of Check for a file that is a mount point. A rename would fail.
var errMounted = errors.New("it is mounted as a single file, so it cannot be replaced")

// explain returns an error of the operating system with facts about the file at path and with
// a remedy.
func explain(path string, err error) error {
	facts, remedy := diagnose(path, err)
	if facts != "" {
		facts = " (" + facts + ")"
	}
	if remedy != "" {
		remedy = ": " + remedy
	}
	return fmt.Errorf("%w: %s: %w%s%s", fault.ErrStore, path, err, facts, remedy)
}
