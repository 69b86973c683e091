package jsonfile

import (
	"errors"
	"fmt"

	"github.com/plexauth/plexauth/internal/fault"
)

// errMounted stands for the errors of a rename over a mount point.
var errMounted = errors.New("it is mounted as a single file, so it cannot be replaced")

// explain makes of an error of the operating system one that says what to do.
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
