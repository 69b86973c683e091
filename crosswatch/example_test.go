package crosswatch_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/crosswatch"
	"github.com/plexauth/plexauth/plextest"
)

// A Go program signs in to Plex in the config of CrossWatch.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "crosswatch")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	err = os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"plex": {"account_token": "", "timeout": 10.0}, "pairs": []}`), 0o600)
	if err != nil {
		log.Fatal(err)
	}
	plex := plextest.NewServer()
	defer plex.Close()
	alice := plex.AddUser(plextest.User{Username: "alice"})

	store, err := crosswatch.Open(dir) // CrossWatch's config directory
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	auth, err := plexauth.New(plexauth.Options{Product: "My App", Store: store, HTTPClient: plex.Client()})
	if err != nil {
		log.Fatal(err)
	}
	status, err := auth.Login(context.Background(), plexauth.PinOptions{}, func(pin *plexauth.Pin) error {
		return plex.Approve(pin.Code, alice)
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("CrossWatch is connected as", status.User)
	// Output: CrossWatch is connected as alice
}
