package signin_test

import (
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
	"github.com/plexauth/plexauth/signin"
)

// A web app lets two Plex accounts in. The fake plex.tv stands for the real
// one, and an HTTP client for the visitor's browser.
func Example() {
	plex := plextest.NewServer()
	defer plex.Close()
	alice := plex.AddUser(plextest.User{Username: "alice"})

	handler, err := signin.New(signin.Options{
		Product: "My App",
		Policy:  signin.Accounts(alice.ID, 7654321),
		Key:     []byte("TEST: 32 random bytes, from your secrets"),
		OnSignIn: func(w http.ResponseWriter, r *http.Request, a plexauth.Account) {
			fmt.Fprintf(w, "Welcome, %s!", a.Username) // start a session for a.ID here
		},
		HTTPClient: plex.Client(), // not in a real app
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/signin/", http.StripPrefix("/signin", handler))
	app := httptest.NewServer(mux)
	defer app.Close()

	jar, _ := cookiejar.New(nil)
	browser := &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	resp, err := browser.PostForm(app.URL+"/signin/start", nil) // the button
	if err != nil {
		fmt.Println(err)
		return
	}
	page, query, _ := strings.Cut(resp.Header.Get("Location"), "#?")
	fmt.Println("sent to", page)
	params, _ := url.ParseQuery(query)
	fmt.Println("and back to", strings.TrimPrefix(params.Get("forwardUrl"), app.URL))

	_ = plex.Approve(params.Get("code"), alice) // what Alice does there
	resp, err = browser.PostForm(app.URL+"/signin/finish", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	var answer strings.Builder
	_ = resp.Write(&answer)
	fmt.Println(answer.String()[strings.Index(answer.String(), "Welcome"):])
	// Output:
	// sent to https://app.plex.tv/auth
	// and back to /signin/callback
	// Welcome, alice!
}
