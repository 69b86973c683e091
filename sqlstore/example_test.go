package sqlstore_test

import (
	"context"
	"database/sql"
	"log"
	"os"

	"github.com/plexauth/plexauth/sqlstore"
)

// Several replicas of a program share one login. The program imports the
// driver that it likes, here github.com/jackc/pgx/v5/stdlib.
func ExampleOpen() {
	ctx := context.Background()
	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	store, err := sqlstore.Open(ctx, db, sqlstore.PostgreSQL)
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Check(ctx); err != nil { // before anyone is sent to plex.tv
		log.Fatal(err)
	}
	// plexauth.New(plexauth.Options{Product: "My App", Store: store})
}
