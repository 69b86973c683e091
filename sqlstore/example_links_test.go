package sqlstore_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
	"github.com/plexauth/plexauth/sqlstore"
)

// links connects the people of a web app to Plex, each in a document of their own.
type links struct {
	auth   *plexauth.PlexAuth
	store  *sqlstore.Store            // of auth
	userID func(*http.Request) string // of your own session; "" if there is none
}

func (l *links) mount(mux *http.ServeMux) {
	for path, do := range map[string]func(context.Context, *plexauth.PlexAuth) (any, error){
		"POST /plex/link": func(ctx context.Context, p *plexauth.PlexAuth) (any, error) {
			return p.Start(ctx, plexauth.PinOptions{})
		},
		"POST /plex/check":  func(ctx context.Context, p *plexauth.PlexAuth) (any, error) { return p.Finish(ctx) },
		"POST /plex/unlink": func(ctx context.Context, p *plexauth.PlexAuth) (any, error) { return p.SignOut(ctx) },
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			id := l.userID(r)
			if id == "" {
				http.Error(w, "Please sign in.", http.StatusUnauthorized)
				return
			}
			result, err := do(r.Context(), l.auth.Namespace("plex/"+id))
			if err != nil {
				slog.Warn("Plex", "user", id, "error", err)
				http.Error(w, "That did not work. Please try again.", http.StatusBadGateway)
				return
			}
			json.NewEncoder(w).Encode(result)
		})
	}
}

// remove signs a person out and removes their document.
func (l *links) remove(ctx context.Context, id string) error {
	_, err := l.auth.Namespace("plex/" + id).SignOut(ctx)
	if errors.Is(err, plexauth.ErrStore) {
		return err // nothing was removed
	}
	nothing := func(json.RawMessage) (json.RawMessage, error) { return nil, nil }
	return errors.Join(err, l.store.Update(ctx, "plex/"+id, nothing))
}

// needLogin returns the people who need to sign in to Plex again. With an error the list is
// not complete; a damaged document is in the error, and hides no one else.
func (l *links) needLogin(ctx context.Context) (ids []string, problems error) {
	for name, err := range l.store.Namespaces(ctx, "plex/") {
		if err != nil {
			return ids, errors.Join(problems, err)
		}
		status, err := l.auth.Namespace(name).Status(ctx)
		switch {
		case errors.Is(err, plexauth.ErrCorruptConfig):
			problems = errors.Join(problems, err)
		case err != nil: // the store does not answer
			return ids, errors.Join(problems, err)
		case status.NeedsLogin:
			ids = append(ids, strings.TrimPrefix(name, "plex/"))
		}
	}
	return ids, problems
}

// A web app in which each person links an account of their own. Here both the database and
// plex.tv are fakes, and a header says whose session it is.
func Example_links() {
	ctx := context.Background()
	plex := plextest.NewServer()
	defer plex.Close()
	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	store, err := sqlstore.Open(ctx, db, sqlstore.PostgreSQL)
	if err != nil {
		log.Fatal(err)
	}
	auth, err := plexauth.New(plexauth.Options{Product: "My App", Store: store, HTTPClient: plex.Client()})
	if err != nil {
		log.Fatal(err)
	}
	app := &links{auth, store, func(r *http.Request) string { return r.Header.Get("Session") }}
	mux := http.NewServeMux()
	app.mount(mux)
	post := func(user, path string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", path, nil)
		r.Header.Set("Session", user)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w
	}

	for _, user := range []string{"1", "2"} {
		var pin struct{ Code string }
		if err := json.Unmarshal(post(user, "/plex/link").Body.Bytes(), &pin); err != nil {
			log.Fatal(err)
		}
		_ = plex.Approve(pin.Code, plex.AddUser(plextest.User{Username: "plex" + user})) // what the person does
		var status struct{ User string }
		if err := json.Unmarshal(post(user, "/plex/check").Body.Bytes(), &status); err != nil {
			log.Fatal(err)
		}
		fmt.Println(user, "is", status.User)
	}
	for _, user := range []string{"1", "2"} {
		person := auth.Namespace("plex/" + user)
		settings, err := person.Settings(ctx)
		if err != nil {
			log.Fatal(err)
		}
		plex.RevokeDevice(settings.ClientID) // as if the person had removed the app from their devices at plex.tv
		_, _ = person.Verify(ctx)
	}
	fmt.Println(app.needLogin(ctx))
	if err := app.remove(ctx, "1"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(app.needLogin(ctx))
	fmt.Println(post("", "/plex/link").Code)
	// Output:
	// 1 is plex1
	// 2 is plex2
	// [1 2] <nil>
	// [2] <nil>
	// 401
}
