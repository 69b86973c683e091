package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "modernc.org/sqlite"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/integration/postgres"
	"github.com/plexauth/plexauth/internal/measure"
	"github.com/plexauth/plexauth/internal/secret"
	"github.com/plexauth/plexauth/sqlstore"
)

// scale says among how many documents, and among how many profiles of one document, a login is
// measured, and how often.
type scale struct {
	documents, profiles []int
	logins              int // among documents; a fifth of that among profiles, which take longer
}

// database is a new database.
type database struct {
	name    string
	dialect sqlstore.Dialect
	open    func() (*sql.DB, error) // another connection pool
	close   func()
}

// loginOf signs a person in: Start, a Finish while the PIN is pending, and a Finish in another
// process when it is approved.
type loginOf func(ctx context.Context, person string) error

// sample is a login that is measured among n others. Each is of another person or profile, because
// a process remembers a login that another one has finished for a while.
type sample struct {
	n     int
	login func(round int) error // takes the time
	reset func(round int) error // undoes the login
}

// run prints both tables.
func (s scale) run(w io.Writer) error {
	dir, err := os.MkdirTemp("", "plexauth-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	server, err := postgres.Start()
	if err != nil {
		return err
	}
	defer server.Close()
	databases := []func() (*database, error){
		func() (*database, error) { return newPostgres(server) },
		func() (*database, error) { return newSQLite(dir) },
	}
	if err := s.amongDocuments(w, databases); err != nil {
		return err
	}
	return s.amongProfiles(w, dir, databases)
}

func newPostgres(server *postgres.Server) (*database, error) {
	ctx := context.Background()
	schema, drop, err := server.Schema(ctx)
	return &database{
		"PostgreSQL", sqlstore.PostgreSQL,
		func() (*sql.DB, error) { return postgres.Open(server.DSN, schema) },
		func() { _ = drop(ctx) },
	}, err
}

// newSQLite makes a database with the settings that sqlstore recommends.
func newSQLite(dir string) (*database, error) {
	dir, err := os.MkdirTemp(dir, "")
	dsn := url.URL{Scheme: "file", Opaque: filepath.Join(dir, "plexauth.db"), RawQuery: "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)"}
	return &database{
		"SQLite", sqlstore.SQLite,
		func() (*sql.DB, error) { return sql.Open("sqlite", dsn.String()) },
		func() { os.RemoveAll(dir) },
	}, err
}

// amongDocuments measures a login among documents, and the one by hand among rows.
func (s scale) amongDocuments(w io.Writer, databases []func() (*database, error)) error {
	a, err := record()
	if err != nil {
		return err
	}
	printSizes(w, "a login among so many documents", s.documents)
	for _, open := range databases {
		var documents, rows []*sample
		var name string
		for _, n := range s.documents {
			db, err := open()
			if err != nil {
				return err
			}
			defer db.close()
			name = db.name
			document, row, closeAll, err := samplesAmong(db, a, n)
			if err != nil {
				return fmt.Errorf("%s with %d documents: %w", name, n, err)
			}
			defer closeAll()
			documents, rows = append(documents, document), append(rows, row)
		}
		took, err := takeTurns(s.logins, append(documents, rows...))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		printTimes(w, name+" | plexauth", took[:len(documents)])
		printTimes(w, " | by hand, a row a person", took[len(documents):])
	}
	return nil
}

// samplesAmong fills db with n documents and n rows. It returns a login of plexauth, and one by
// hand, of a person between them.
func samplesAmong(db *database, a *answers, n int) (document, row *sample, closeAll func(), err error) {
	ctx := context.Background()
	var pools [3]*sql.DB // of two processes that share the logins, and of this one
	closeAll = func() {
		for _, p := range pools {
			if p != nil {
				p.Close()
			}
		}
	}
	for i := range pools {
		if pools[i], err = db.open(); err != nil {
			return nil, nil, closeAll, err
		}
	}
	network := &service{answers: a}
	byPlexauth, err := documentLogin(db.dialect, pools[0], pools[1], network)
	if err != nil {
		return nil, nil, closeAll, err
	}
	byHand := rowLogin(pools[0], pools[1], network)
	if _, err = pools[2].ExecContext(ctx, createPeople); err != nil {
		return nil, nil, closeAll, err
	}
	if err = byPlexauth(ctx, "plex/person"); err == nil {
		err = byHand(ctx, "plex/person")
	}
	if err == nil {
		err = fill(ctx, pools[2], db.dialect, n)
	}
	person := func(round int) string { return fmt.Sprintf("plex/person %06d.%d", n/2, round) }
	sampleOf := func(login loginOf, undo string) *sample {
		return &sample{
			n:     n,
			login: func(round int) error { return login(ctx, person(round)) },
			reset: func(round int) error { _, err := pools[2].ExecContext(ctx, undo, person(round)); return err },
		}
	}
	return sampleOf(byPlexauth, `DELETE FROM plexauth_config WHERE namespace = $1`), sampleOf(byHand, `DELETE FROM people WHERE id = $1`), closeAll, err
}

// documentLogin signs in with plexauth: two processes, each with one client for all people.
func documentLogin(d sqlstore.Dialect, here, there *sql.DB, network *service) (loginOf, error) {
	var clients []*plexauth.PlexAuth
	for _, db := range []*sql.DB{here, there} {
		store, err := sqlstore.Open(context.Background(), db, d)
		if err != nil {
			return nil, err
		}
		client, err := newClient(store, network)
		if err != nil {
			return nil, err
		}
		clients = append(clients, client)
	}
	return func(ctx context.Context, person string) error {
		return startAndFinish(ctx, clients[0].Namespace(person), clients[1].Namespace(person), network)
	}, nil
}

func newClient(store plexauth.ConfigStore, network *service) (*plexauth.PlexAuth, error) {
	o := measure.Options(&http.Client{Transport: network})
	o.Store = store
	return plexauth.New(o)
}

// startAndFinish is Start and Finish here, and Finish there after the approval.
func startAndFinish(ctx context.Context, here, there *plexauth.PlexAuth, network *service) error {
	network.approved.Store(false)
	if _, err := here.Start(ctx, plexauth.PinOptions{}); err != nil {
		return err
	}
	s, err := here.Finish(ctx)
	if err == nil && s.Pending == nil {
		err = fmt.Errorf("the pending login is %+v", s)
	}
	if err != nil {
		return err
	}
	network.approved.Store(true)
	s, err = there.Finish(ctx)
	if err == nil && (!s.Connected || s.User == "") {
		err = fmt.Errorf("the login ended as %+v", s)
	}
	return err
}

// createPeople makes the table of the login by hand: a row for each person.
const createPeople = `CREATE TABLE people (
	id         TEXT NOT NULL PRIMARY KEY,
	pin_id     BIGINT,
	pin_code   TEXT,
	expires_at TIMESTAMP,
	token      TEXT,
	account_id BIGINT,
	username   TEXT
)`

// rowLogin signs in by hand. It writes a row when it has a PIN and when it has the token, and
// reads it before each check. It keeps no approval that it cannot save.
func rowLogin(here, there *sql.DB, network *service) loginOf {
	p := newPlain(&http.Client{Transport: network}, measure.PlexTV)
	start := func(ctx context.Context, db *sql.DB, id string) error {
		pin, err := p.Create(ctx)
		if err != nil {
			return err
		}
		_, err = db.ExecContext(ctx, `INSERT INTO people (id, pin_id, pin_code, expires_at) VALUES ($1, $2, $3, $4)
			ON CONFLICT (id) DO UPDATE SET pin_id = $2, pin_code = $3, expires_at = $4`,
			id, pin.ID, pin.Code, time.Now().Add(time.Duration(pin.ExpiresIn)*time.Second))
		return err
	}
	finish := func(ctx context.Context, db *sql.DB, id string) (connected bool, err error) {
		var pin measure.PIN
		if err := db.QueryRowContext(ctx, `SELECT pin_id FROM people WHERE id = $1`, id).Scan(&pin.ID); err != nil {
			return false, err
		}
		token, err := p.Check(ctx, &pin)
		if err != nil || token == "" {
			return false, err
		}
		u, err := p.User(ctx, token)
		if err != nil {
			return false, err
		}
		_, err = db.ExecContext(ctx, `UPDATE people SET pin_id = NULL, pin_code = NULL, token = $1, account_id = $2, username = $3 WHERE id = $4`,
			token, u.ID, u.Username, id)
		return true, err
	}
	return func(ctx context.Context, person string) error {
		network.approved.Store(false)
		if err := start(ctx, here, person); err != nil {
			return err
		}
		if _, err := finish(ctx, here, person); err != nil {
			return err
		}
		network.approved.Store(true)
		connected, err := finish(ctx, there, person)
		if err == nil && !connected {
			err = errors.New("the login was not finished")
		}
		return err
	}
}

// fill copies the document and the row of "plex/person", who then goes, n times.
func fill(ctx context.Context, db *sql.DB, d sqlstore.Dialect, n int) error {
	numbers, name := `generate_series(0, $1::int - 1) AS i(n)`, `'plex/person ' || lpad(i.n::text, 6, '0')`
	if d == sqlstore.SQLite {
		numbers, name = `(WITH RECURSIVE i(n) AS (VALUES (0) UNION ALL SELECT n + 1 FROM i WHERE n < $1 - 1) SELECT n FROM i) AS i`, `'plex/person ' || printf('%06d', i.n)`
	}
	for _, q := range []string{
		`INSERT INTO plexauth_config (namespace, document, version, writes) SELECT ` + name + `, document, version, writes FROM plexauth_config CROSS JOIN ` + numbers + ` WHERE namespace = 'plex/person'`,
		`INSERT INTO people (id, token, account_id, username) SELECT ` + name + `, token, account_id, username FROM people CROSS JOIN ` + numbers + ` WHERE id = 'plex/person'`,
	} {
		if _, err := db.ExecContext(ctx, q, n); err != nil {
			return err
		}
	}
	clean := []string{`DELETE FROM plexauth_config WHERE namespace = 'plex/person'`, `DELETE FROM people WHERE id = 'plex/person'`}
	if d == sqlstore.PostgreSQL { // rather now than in the middle of the logins
		clean = append(clean, `VACUUM ANALYZE plexauth_config`, `VACUUM ANALYZE people`)
	}
	for _, q := range clean {
		if _, err := db.ExecContext(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// amongProfiles measures a login among the profiles of one document.
func (s scale) amongProfiles(w io.Writer, dir string, databases []func() (*database, error)) error {
	stores := []struct {
		name string
		open func() (here, there plexauth.ConfigStore, close func(), err error)
	}{
		{"MemoryStore", func() (here, there plexauth.ConfigStore, close func(), err error) {
			store := plexauth.NewMemoryStore()
			return store, store, func() {}, nil
		}},
		{"FileStore", func() (here, there plexauth.ConfigStore, close func(), err error) {
			dir, err := os.MkdirTemp(dir, "")
			path := filepath.Join(dir, "config.json")
			return plexauth.NewFileStore(path), plexauth.NewFileStore(path), func() {}, err
		}},
	}
	for i, name := range []string{"PostgreSQL", "SQLite"} {
		stores = append(stores, struct {
			name string
			open func() (here, there plexauth.ConfigStore, close func(), err error)
		}{name, func() (here, there plexauth.ConfigStore, close func(), err error) { return openStores(databases[i]) }})
	}
	a, err := record()
	if err != nil {
		return err
	}
	printSizes(w, "a login as one of so many profiles of a document", s.profiles)
	for _, store := range stores {
		var all []*sample
		for _, n := range s.profiles {
			here, there, closeStores, err := store.open()
			if err != nil {
				return fmt.Errorf("%s: %w", store.name, err)
			}
			defer closeStores()
			sample, err := profileSample(here, there, a, n)
			if err != nil {
				return fmt.Errorf("%s: %w", store.name, err)
			}
			all = append(all, sample)
		}
		took, err := takeTurns(max(s.logins/5, 1), all)
		if err != nil {
			return fmt.Errorf("%s: %w", store.name, err)
		}
		printTimes(w, store.name+" | plexauth", took)
	}
	return nil
}

// openStores returns the stores of two processes over a new database.
func openStores(open func() (*database, error)) (here, there plexauth.ConfigStore, closeAll func(), err error) {
	db, err := open()
	if err != nil {
		return nil, nil, nil, err
	}
	var stores []plexauth.ConfigStore
	var pools []*sql.DB
	closeAll = func() {
		for _, p := range pools {
			p.Close()
		}
		db.close()
	}
	for range 2 {
		pool, err := db.open()
		if err != nil {
			closeAll()
			return nil, nil, nil, err
		}
		pools = append(pools, pool)
		store, err := sqlstore.Open(context.Background(), pool, db.dialect)
		if err != nil {
			closeAll()
			return nil, nil, nil, err
		}
		stores = append(stores, store)
	}
	return stores[0], stores[1], closeAll, nil
}

// profileSample signs in the last of n profiles. The others are signed in already.
func profileSample(here, there plexauth.ConfigStore, a *answers, n int) (*sample, error) {
	ctx := context.Background()
	network := &service{answers: a}
	one, err := newClient(here, network)
	if err != nil {
		return nil, err
	}
	other, err := newClient(there, network)
	if err != nil {
		return nil, err
	}
	before := profilesDocument(n - 1)
	s := &sample{
		n: n,
		login: func(round int) error {
			id := fmt.Sprint("PLEX-NEW-", round)
			return startAndFinish(ctx, one.Instance(id), other.Instance(id), network)
		},
		reset: func(int) error {
			return here.Update(ctx, plexauth.Namespace, func(json.RawMessage) (json.RawMessage, error) { return before, nil })
		},
	}
	return s, s.reset(0)
}

// profilesDocument returns a document with n profiles, each signed in to an account of its own, as
// their logins leave them.
func profilesDocument(n int) json.RawMessage {
	var blocks []string
	for i := range n {
		token := fmt.Sprintf("TEST_token-%09d", i)
		blocks = append(blocks, fmt.Sprintf(`"PLEX-P%04d":{"server_url":"","account_token":%q,"pms_token":"","machine_id":"","username":"user%[1]d","account_id":"","home_pin":"","_cloud":{"account_id":%[3]d,"bound_to":%[4]q,"user":{"id":%[3]d,"name":"user%[1]d"}}}`,
			i, token, 1000+i, secret.Fingerprint(secret.New(token))))
	}
	return json.RawMessage(`{"client_id":"` + measure.ClientID + `","instances":{` + strings.Join(blocks, ",") + `}}`)
}

// takeTurns measures each sample once in a round, and returns the median time of each.
func takeTurns(logins int, samples []*sample) ([]float64, error) {
	took := make([][]float64, len(samples))
	for round := range logins + logins/10 + 1 {
		for _, i := range rand.Perm(len(samples)) { // because one may leave work to the disk
			s := samples[i]
			began := time.Now()
			if err := s.login(round); err != nil {
				return nil, fmt.Errorf("among %d: %w", s.n, err)
			}
			if round > logins/10 { // those before warm up
				took[i] = append(took[i], float64(time.Since(began)))
			}
			if err := s.reset(round); err != nil {
				return nil, err
			}
		}
	}
	medians := make([]float64, len(samples))
	for i, t := range took {
		medians[i] = measure.Median(t)
	}
	return medians, nil
}

// printSizes prints the head of a table with a column for each size.
func printSizes(w io.Writer, what string, sizes []int) {
	fmt.Fprintf(w, "\n| %s | |", what)
	for _, n := range sizes {
		fmt.Fprintf(w, " %d |", n)
	}
	fmt.Fprintf(w, "\n|---|---|%s\n", strings.Repeat("--:|", len(sizes)))
}

// printTimes prints a row of times. Each but the first has its ratio to the first.
func printTimes(w io.Writer, what string, took []float64) {
	fmt.Fprintf(w, "| %s |", what)
	for i, t := range took {
		fmt.Fprintf(w, " %s", formats["time"](t))
		if i > 0 {
			fmt.Fprintf(w, " (%.2f×)", t/took[0])
		}
		fmt.Fprint(w, " |")
	}
	fmt.Fprintln(w)
}
