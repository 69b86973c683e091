package sqlstore_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
	"github.com/plexauth/plexauth/sqlstore"
)

// Two replicas of a program share one login: one starts it, the other finishes it. A real
// program imports a driver:
//
//	import _ "github.com/jackc/pgx/v5/stdlib"
//
// Here both the database and plex.tv are fakes.
func ExampleOpen() {
	ctx := context.Background()
	plex := plextest.NewServer()
	defer plex.Close()
	alice := plex.AddUser(plextest.User{Username: "alice"})

	replica := func() *plexauth.PlexAuth {
		db, err := sql.Open("pgx", os.Getenv("DATABASE_URL")) // closed with the program
		if err != nil {
			log.Fatal(err)
		}
		store, err := sqlstore.Open(ctx, db, sqlstore.PostgreSQL)
		if err != nil {
			log.Fatal(err)
		}
		if err := store.Check(ctx); err != nil { // before anyone is sent to plex.tv
			log.Fatal(err)
		}
		auth, err := plexauth.New(plexauth.Options{
			Product:    "My App",
			Store:      store,
			HTTPClient: plex.Client(), // leave this out to talk to Plex
		})
		if err != nil {
			log.Fatal(err)
		}
		return auth
	}

	pin, err := replica().Start(ctx, plexauth.PinOptions{})
	if err != nil {
		log.Fatal(err)
	}
	_ = plex.Approve(pin.Code, alice) // what Alice does at plex.tv/link
	status, err := replica().Finish(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("Signed in as", status.User)
	// Output: Signed in as alice
}

// A web app has one document for each person, and lists the people who have one.
func ExampleStore_Namespaces() {
	ctx := context.Background()
	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	store, err := sqlstore.Open(ctx, db, sqlstore.PostgreSQL)
	if err != nil {
		log.Fatal(err)
	}
	for _, userID := range []string{"bob", "alice"} { // their logins do this
		err := store.Update(ctx, "people/"+userID, func(json.RawMessage) (json.RawMessage, error) {
			return json.RawMessage(`{"account_token":"TEST_token"}`), nil
		})
		if err != nil {
			log.Fatal(err)
		}
	}

	for name, err := range store.Namespaces(ctx, "people/") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(strings.TrimPrefix(name, "people/"))
	}
	// Output:
	// alice
	// bob
}
