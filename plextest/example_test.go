package plextest_test

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/plexauth/plexauth/plextest"
)

// A program creates a PIN, a person approves it, and the program finds a token. In
// this example net/http plays the program; give Client to yours.
func Example() {
	srv := plextest.NewServer()
	defer srv.Close()
	alice := srv.AddUser(plextest.User{Username: "alice"})

	client := srv.Client()
	ask := func(method, url string) (pin struct {
		ID        int64
		Code      string
		AuthToken *string
	}) {
		r, _ := http.NewRequest(method, url, nil)
		r.Header.Set("Accept", "application/json")
		r.Header.Set("X-Plex-Client-Identifier", "my-app-1")
		r.Header.Set("X-Plex-Product", "My App")
		resp, err := client.Do(r)
		if err != nil {
			fmt.Println(err)
			return pin
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(&pin); err != nil {
			fmt.Println(err)
		}
		return pin
	}

	pin := ask("POST", "https://plex.tv/api/v2/pins")
	fmt.Println("codes waiting:", len(srv.PendingCodes()))
	if err := srv.Approve(pin.Code, alice); err != nil {
		fmt.Println(err)
	}
	pin = ask("GET", fmt.Sprintf("https://plex.tv/api/v2/pins/%d", pin.ID))
	fmt.Println("signed in:", *pin.AuthToken == srv.Token(alice, "my-app-1"))
	fmt.Println("violations:", srv.Violations())
	// Output:
	// codes waiting: 1
	// signed in: true
	// violations: []
}

// Faults apply one after the other, and then plex.tv answers normally again.
func ExampleServer_Inject() {
	srv := plextest.NewServer()
	defer srv.Close()
	srv.Inject(plextest.Fault{Path: "/api/v2/*", Status: 502, Body: "<html>Bad Gateway</html>", ContentType: "text/html"})
	srv.Inject(plextest.Fault{Path: "/api/v2/*", Code: 1003, Header: http.Header{"Retry-After": {"30"}}})
	for range 3 {
		resp, err := srv.Client().Get("https://plex.tv/api/v2/ping")
		if err != nil {
			fmt.Println(err)
			return
		}
		resp.Body.Close()
		fmt.Printf("%d %q\n", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
	// Output:
	// 502 ""
	// 429 "30"
	// 400 ""
}

// A media server has addresses that may or may not answer.
func ExampleServer_AddMediaServer() {
	srv := plextest.NewServer()
	defer srv.Close()
	alice := srv.AddUser(plextest.User{Username: "alice"})
	box := srv.AddMediaServer(alice, plextest.MediaServer{Name: "Box", Connections: []plextest.Connection{
		{Address: "192.168.1.5", Local: true},
		{Address: "203.0.113.7", Refused: true},
	}})
	for _, c := range box.Connections {
		resp, err := srv.Client().Get(c.URI + "/identity")
		if err != nil {
			fmt.Println(c.Address, "does not answer")
			continue
		}
		resp.Body.Close()
		fmt.Println(c.Address, resp.StatusCode)
	}
	// Output:
	// 192.168.1.5 200
	// 203.0.113.7 does not answer
}
