package plexauth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/jarcoal/httpmock"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// This example signs a person in. A fake plex.tv approves the login at once; a person
// takes longer.
func Example() {
	plex := plextest.NewServer()
	defer plex.Close()
	alice := plex.AddUser(plextest.User{Username: "alice"})

	dir, err := os.MkdirTemp("", "plexauth")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	auth, err := plexauth.New(plexauth.Options{
		Product:    "My App",
		Store:      plexauth.NewFileStore(filepath.Join(dir, "config.json")),
		HTTPClient: plex.Client(), // leave this out to talk to Plex
	})
	if err != nil {
		log.Fatal(err)
	}
	status, err := auth.Login(context.Background(), plexauth.PinOptions{}, func(pin *plexauth.Pin) error {
		fmt.Println("Open", pin.VerificationURI(), "and enter a code of", len(pin.Code), "letters")
		return plex.Approve(pin.Code, alice)
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("Signed in as", status.User)
	// Output:
	// Open https://plex.tv/pin and enter a code of 4 letters
	// Signed in as alice
}

// This example takes over a token that the program got from elsewhere. It can be called at
// each start: once the token is stored, it makes no request.
func ExamplePlexAuth_Adopt() {
	plex := plextest.NewServer()
	defer plex.Close()
	alice := plex.AddUser(plextest.User{Username: "alice"})
	environment := map[string]string{"PLEX_TOKEN": plex.IssueToken(alice, "older-app")}

	auth, err := plexauth.New(plexauth.Options{Product: "My App", HTTPClient: plex.Client()})
	if err != nil {
		log.Fatal(err)
	}
	status, err := auth.Adopt(context.Background(), plexauth.NewToken(environment["PLEX_TOKEN"]), plexauth.AdoptOptions{
		ClientID: "older-app", // leave this out if it is not known
	})
	switch {
	case errors.Is(err, plexauth.ErrTokenRejected):
		fmt.Println("The token is not valid any more: sign in")
	case err != nil:
		log.Fatal(err)
	default:
		fmt.Println("Signed in as", status.User)
	}
	// Output: Signed in as alice
}

// This example starts a login and looks at it later, as in another request, after a
// restart or in another process.
func ExamplePlexAuth_Finish() {
	plex := plextest.NewServer()
	defer plex.Close()
	alice := plex.AddUser(plextest.User{Username: "alice"})
	store := plexauth.NewMemoryStore()
	ctx := context.Background()

	open := func() *plexauth.PlexAuth {
		auth, err := plexauth.New(plexauth.Options{Product: "My App", Store: store, HTTPClient: plex.Client()})
		if err != nil {
			log.Fatal(err)
		}
		return auth
	}

	pin, err := open().Start(ctx, plexauth.PinOptions{})
	if err != nil {
		log.Fatal(err)
	}
	status, err := open().Finish(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("connected:", status.Connected)

	if err := plex.Approve(pin.Code, alice); err != nil {
		log.Fatal(err)
	}
	if status, err = open().Finish(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("connected:", status.Connected)
	// Output:
	// connected: false
	// connected: true
}

// This example links to Plex's sign-in page, which sends the browser back afterwards.
func ExamplePlexAuth_Start_web() {
	plex := plextest.NewServer()
	defer plex.Close()
	auth, err := plexauth.New(plexauth.Options{Product: "My App", HTTPClient: plex.Client()})
	if err != nil {
		log.Fatal(err)
	}
	pin, err := auth.Start(context.Background(), plexauth.PinOptions{
		Strong:     true,
		ForwardURL: "https://my.example/settings",
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(pin.URL() == pin.AuthURL(), len(pin.Code))
	// Output: true 25
}

// This example mounts the panel in two lines, behind the program's own login. In a
// browser, panel.js sends the requests.
func ExamplePlexAuth_Handler() {
	plex := plextest.NewServer()
	defer plex.Close()
	alice := plex.AddUser(plextest.User{Username: "alice"})
	auth, err := plexauth.New(plexauth.Options{Product: "My App", HTTPClient: plex.Client()})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	mux := http.NewServeMux()
	mux.Handle("/settings/plex/", http.StripPrefix("/settings/plex", auth.Handler(ctx)))
	app := httptest.NewServer(mux)
	defer app.Close()

	resp, err := http.Post(app.URL+"/settings/plex/start", "application/json", nil)
	if err != nil {
		log.Fatal(err)
	}
	resp.Body.Close()
	if err := plex.Approve(plex.PendingCodes()[0], alice); err != nil { // as a person does
		log.Fatal(err)
	}
	for { // the panel waits for it by itself, and answers when there is news
		resp, err := http.Get(app.URL + "/settings/plex/status?wait=25")
		if err != nil {
			log.Fatal(err)
		}
		var status struct {
			Connected bool
			User      string
		}
		err = json.NewDecoder(resp.Body).Decode(&status)
		resp.Body.Close()
		if err != nil {
			log.Fatal(err)
		}
		if status.Connected {
			fmt.Println("Signed in as", status.User)
			break
		}
	}
	// Output: Signed in as alice
}

// This example puts the panel into the program's own settings page. panel.js drives it, from
// below the path where Handler is mounted.
func ExampleHTML() {
	plex := plextest.NewServer()
	defer plex.Close()
	auth, err := plexauth.New(plexauth.Options{Product: "My App", HTTPClient: plex.Client()})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	page := template.Must(template.New("settings").Parse(`<h1>Settings</h1>
{{.}}
<script type="module" src="/plex/panel.js"></script>`))
	mux := http.NewServeMux() // behind the program's own login
	mux.Handle("/plex/", http.StripPrefix("/plex", auth.Handler(ctx)))
	mux.HandleFunc("GET /settings", func(w http.ResponseWriter, r *http.Request) {
		if err := page.Execute(w, template.HTML(plexauth.HTML())); err != nil {
			log.Print(err)
		}
	})

	settings, module := httptest.NewRecorder(), httptest.NewRecorder()
	mux.ServeHTTP(settings, httptest.NewRequest("GET", "/settings", nil))
	mux.ServeHTTP(module, httptest.NewRequest("GET", "/plex/panel.js", nil))
	fmt.Println("has the button:", strings.Contains(settings.Body.String(), `id="btn-connect-plex"`))
	fmt.Println("has the module:", module.Header().Get("Content-Type"))
	// Output:
	// has the button: true
	// has the module: text/javascript; charset=utf-8
}

// This example makes a QR code to scan from a screen. It leads to Plex's page, with the
// code filled in.
func ExamplePin_QRCode() {
	plex := plextest.NewServer()
	defer plex.Close()
	auth, err := plexauth.New(plexauth.Options{Product: "My App", HTTPClient: plex.Client()})
	if err != nil {
		log.Fatal(err)
	}
	pin, err := auth.Start(context.Background(), plexauth.PinOptions{})
	if err != nil {
		log.Fatal(err)
	}
	svg, err := pin.QRCode()
	fmt.Println(bytes.HasPrefix(svg, []byte("<svg")), err)
	// Output: true <nil>
}

// This example keeps two profiles in one store.
func ExamplePlexAuth_Instance() {
	plex := plextest.NewServer()
	defer plex.Close()
	ctx := context.Background()
	auth, err := plexauth.New(plexauth.Options{Product: "My App", HTTPClient: plex.Client()})
	if err != nil {
		log.Fatal(err)
	}
	for _, profile := range []string{"default", "kids"} {
		user := plex.AddUser(plextest.User{Username: "user of " + profile})
		_, err := auth.Instance(profile).Login(ctx, plexauth.PinOptions{}, func(pin *plexauth.Pin) error {
			return plex.Approve(pin.Code, user)
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	ids, err := auth.Instances(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, id := range ids {
		status, err := auth.Instance(id).Status(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(status.Label, "is", status.User)
	}
	// Output:
	// Plex is user of default
	// Plex (kids) is user of kids
}

// This example sends the program's own request. The token goes to plex.tv and to the
// saved server, and nowhere else.
func ExamplePlexAuth_Transport() {
	plex := plextest.NewServer()
	defer plex.Close()
	alice := plex.AddUser(plextest.User{Username: "alice"})
	ctx := context.Background()
	auth, err := plexauth.New(plexauth.Options{Product: "My App", HTTPClient: plex.Client()})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := auth.Login(ctx, plexauth.PinOptions{}, func(pin *plexauth.Pin) error { return plex.Approve(pin.Code, alice) }); err != nil {
		log.Fatal(err)
	}

	client := &http.Client{Transport: auth.Transport(plex.Client().Transport)} // nil is http.DefaultTransport
	resp, err := client.Get("https://plex.tv/api/v2/ping")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
	// Output: 200 OK
}

// This example tells an outage from a rejected token. Only after plex.tv's own rejection
// must the person sign in again.
func ExamplePlexAuth_Verify() {
	plex := plextest.NewServer()
	defer plex.Close()
	alice := plex.AddUser(plextest.User{Username: "alice"})
	ctx := context.Background()
	auth, err := plexauth.New(plexauth.Options{Product: "My App", HTTPClient: plex.Client(), MaxRetries: -1})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := auth.Login(ctx, plexauth.PinOptions{}, func(pin *plexauth.Pin) error { return plex.Approve(pin.Code, alice) }); err != nil {
		log.Fatal(err)
	}

	report := func() {
		status, err := auth.Verify(ctx)
		switch {
		case errors.Is(err, plexauth.ErrTokenRejected):
			fmt.Println("sign in again:", status.NeedsLogin)
		case errors.Is(err, plexauth.ErrUnavailable):
			fmt.Println("plex.tv is down, still connected:", status.Connected)
		case err == nil:
			fmt.Println("all is well")
		}
	}
	report()
	plex.Inject(plextest.Fault{Status: http.StatusBadGateway})
	report()
	plex.Revoke(alice)
	report()
	// Output:
	// all is well
	// plex.tv is down, still connected: true
	// sign in again: true
}

// This example runs for as long as a person is signed in. Here the person signs out at
// once.
func ExamplePlexAuth_Watch() {
	plex := plextest.NewServer()
	defer plex.Close()
	alice := plex.AddUser(plextest.User{Username: "alice"})
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	auth, err := plexauth.New(plexauth.Options{Product: "My App", HTTPClient: plex.Client()})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := auth.Login(ctx, plexauth.PinOptions{}, func(pin *plexauth.Pin) error { return plex.Approve(pin.Code, alice) }); err != nil {
		log.Fatal(err)
	}

	err = auth.Watch(ctx, func(status plexauth.Status) {
		if !status.Connected || status.NeedsLogin {
			fmt.Println("sign in again")
			stop()
			return
		}
		fmt.Println("signed in as", status.User)
		if _, err := auth.Disconnect(ctx); err != nil {
			log.Fatal(err)
		}
	})
	fmt.Println(errors.Is(err, context.Canceled))
	// Output:
	// signed in as alice
	// sign in again
	// true
}

// This example signs out. Disconnect deletes the token here, and works offline; SignOut
// also revokes it at plex.tv. Both keep the client identifier and the server choice.
func ExamplePlexAuth_SignOut() {
	plex := plextest.NewServer()
	defer plex.Close()
	alice := plex.AddUser(plextest.User{Username: "alice"})
	auth, err := plexauth.New(plexauth.Options{Product: "My App", HTTPClient: plex.Client()})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if _, err := auth.Login(ctx, plexauth.PinOptions{}, func(pin *plexauth.Pin) error { return plex.Approve(pin.Code, alice) }); err != nil {
		log.Fatal(err)
	}
	before, err := auth.Settings(ctx)
	if err != nil {
		log.Fatal(err)
	}

	status, err := auth.SignOut(ctx)
	if err != nil { // plex.tv could not be told: signed out here all the same
		log.Print(err)
	}
	after, err := auth.Settings(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("connected:", status.Connected)
	fmt.Println("the same identifier:", after.ClientID == before.ClientID)
	// Output:
	// connected: false
	// the same identifier: true
}

// This example lets a person choose one of several media servers. plexauth never picks one
// of several by itself.
func ExamplePlexAuth_UseServer() {
	plex := plextest.NewServer()
	defer plex.Close()
	alice := plex.AddUser(plextest.User{Username: "alice"})
	for _, name := range []string{"Living room", "Cabin"} {
		plex.AddMediaServer(alice, plextest.MediaServer{Name: name, Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}}})
	}
	ctx := context.Background()
	auth, err := plexauth.New(plexauth.Options{Product: "My App", HTTPClient: plex.Client()})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := auth.Login(ctx, plexauth.PinOptions{}, func(pin *plexauth.Pin) error { return plex.Approve(pin.Code, alice) }); err != nil {
		log.Fatal(err)
	}

	settings, err := auth.Inspect(ctx)
	var several *plexauth.ServerChoiceError // an ErrServerChoice
	if errors.As(err, &several) && len(several.Servers) > 0 {
		for _, server := range several.Servers {
			fmt.Println(server.Name)
		}
		settings, err = auth.UseServer(ctx, several.Servers[0].MachineID) // a person chooses
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("found it:", settings.ServerURL != "")
	// Output:
	// Living room
	// Cabin
	// found it: true
}

// This example gets a token of another member of the Plex Home, who has a Home PIN. The
// program's own login does not change.
func ExamplePlexAuth_HomeUsers() {
	plex := plextest.NewServer()
	defer plex.Close()
	alice := plex.AddUser(plextest.User{Username: "alice"})
	plex.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: alice, HomePIN: "1234"})
	ctx := context.Background()
	auth, err := plexauth.New(plexauth.Options{Product: "My App", HTTPClient: plex.Client()})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := auth.Login(ctx, plexauth.PinOptions{}, func(pin *plexauth.Pin) error { return plex.Approve(pin.Code, alice) }); err != nil {
		log.Fatal(err)
	}

	users, err := auth.HomeUsers(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, user := range users {
		fmt.Println(user.Title, "has a PIN:", user.Protected)
	}
	kid := users[1]
	for _, pin := range []string{"4321", "1234"} { // what a person types
		token, err := auth.SwitchHomeUser(ctx, kid, pin)
		switch {
		case errors.Is(err, plexauth.ErrHomePin):
			fmt.Println("not the PIN of", kid.Title)
		case err != nil:
			log.Fatal(err)
		default:
			fmt.Println("a token of", kid.Title, !token.IsZero())
		}
	}
	// Output:
	// alice has a PIN: false
	// Kid has a PIN: true
	// not the PIN of Kid
	// a token of Kid true
}

// This example finds out why a media server does not answer, address by address.
func ExamplePlexAuth_Probe() {
	plex := plextest.NewServer()
	defer plex.Close()
	alice := plex.AddUser(plextest.User{Username: "alice"})
	plex.AddMediaServer(alice, plextest.MediaServer{Connections: []plextest.Connection{
		{Address: "192.168.1.5", Local: true, Refused: true},
	}})
	auth, err := plexauth.New(plexauth.Options{Product: "My App", HTTPClient: plex.Client()})
	if err != nil {
		log.Fatal(err)
	}
	result, err := auth.Probe(context.Background(), "http://192.168.1.5:32400")
	for _, a := range result.Addresses {
		fmt.Println(a.URL, a.OK)
		fmt.Println(a.Finding)
	}
	fmt.Println("unavailable:", errors.Is(err, plexauth.ErrUnavailable))
	// Output:
	// http://192.168.1.5:32400 false
	// nothing listens there: connection refused
	// unavailable: true
}

// This example reads the details of a failure. errors.Is tells what to do about it, and
// errors.As finds the numbers.
func ExampleError() {
	plex := plextest.NewServer()
	defer plex.Close()
	plex.Inject(plextest.Fault{Code: 1003, Header: http.Header{"Retry-After": {"30"}}})
	auth, err := plexauth.New(plexauth.Options{Product: "My App", HTTPClient: plex.Client(), MaxRetries: -1})
	if err != nil {
		log.Fatal(err)
	}
	_, err = auth.Start(context.Background(), plexauth.PinOptions{})
	var failure *plexauth.Error
	if errors.As(err, &failure) {
		fmt.Println("tried to", failure.Op)
		fmt.Println("status", failure.StatusCode, "code", failure.Code)
		fmt.Println("too many requests:", errors.Is(err, plexauth.ErrRateLimited), "wait for", failure.RetryAfter)
	}
	// Output:
	// tried to create PIN
	// status 429 code 1003
	// too many requests: true wait for 30s
}

// talkingStore is a ConfigStore that prints what it does. A real store must be atomic
// against other processes; the package storetest checks that.
type talkingStore struct{ *plexauth.MemoryStore }

func (s talkingStore) Update(ctx context.Context, namespace string, edit func(json.RawMessage) (json.RawMessage, error)) error {
	err := s.MemoryStore.Update(ctx, namespace, edit)
	fmt.Println("updated:", err == nil)
	return err
}

// This example uses a store of the program's own, which has two methods.
func ExampleConfigStore() {
	var store plexauth.ConfigStore = talkingStore{plexauth.NewMemoryStore()}
	err := store.Update(context.Background(), plexauth.Namespace, func(current json.RawMessage) (json.RawMessage, error) {
		fmt.Println("before:", current == nil)
		return json.RawMessage(`{"client_id":"0123456789abcdef01234567"}`), nil
	})
	if err != nil {
		log.Fatal(err)
	}
	doc, err := store.Load(context.Background(), plexauth.Namespace)
	fmt.Println(string(doc), err)
	// Output:
	// before: true
	// updated: true
	// {"client_id":"0123456789abcdef01234567"} <nil>
}

// This example passes log lines to a function of the program.
func ExampleNewLogHandler() {
	logger := slog.New(plexauth.NewLogHandler(func(level, module, message string) {
		fmt.Printf("%s %s %s\n", module, level, message)
	}))
	logger.Info("Plex[default]: request PIN")
	// Output: AUTH INFO Plex[default]: request PIN
}

// This example tests a program with httpmock.
func Example_httpmock() {
	httpmock.Activate(nil)
	defer httpmock.DeactivateAndReset()
	httpmock.RegisterResponder("POST", "https://plex.tv/api/v2/pins",
		httpmock.NewStringResponder(201, `{"id": 1, "code": "ABCD", "expiresIn": 900}`))
	httpmock.RegisterResponder("GET", "https://plex.tv/api/v2/pins/1",
		httpmock.NewStringResponder(200, `{"id": 1, "authToken": "a-test-token"}`))
	httpmock.RegisterResponder("GET", "https://plex.tv/api/v2/user",
		httpmock.NewStringResponder(200, `{"id": 7, "username": "alice"}`))

	ctx := context.Background()
	auth, err := plexauth.New(plexauth.Options{Product: "My App"})
	if err != nil {
		log.Fatal(err)
	}
	pin, err := auth.Start(ctx, plexauth.PinOptions{})
	if err != nil {
		log.Fatal(err)
	}
	status, err := auth.Finish(ctx)
	fmt.Println(pin.Code, status.User, err)
	// Output: ABCD alice <nil>
}

// This example tests a program with the fake plex.tv, which has accounts, faults and a
// journal of the program's requests.
func Example_plextest() {
	plex := plextest.NewServer()
	defer plex.Close()
	alice := plex.AddUser(plextest.User{Username: "alice"})
	plex.Inject(plextest.Fault{Method: "GET", Path: "/api/v2/user", Status: 502}) // one bad gateway

	auth, err := plexauth.New(plexauth.Options{Product: "My App", HTTPClient: plex.Client()})
	if err != nil {
		log.Fatal(err)
	}
	status, err := auth.Login(context.Background(), plexauth.PinOptions{}, func(pin *plexauth.Pin) error {
		return plex.Approve(pin.Code, alice)
	})
	fmt.Println(status.User, err, len(plex.Violations()))
	// Output: alice <nil> 0
}

// This example edits one namespace of a JSON file. The rest of the file stays.
func ExampleNewFileStore() {
	dir, _ := os.MkdirTemp("", "plexauth")
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "config.json")
	_ = os.WriteFile(path, []byte("{\n  \"theme\": \"dark\"\n}\n"), 0o600)

	store := plexauth.NewFileStore(path)
	err := store.Update(context.Background(), plexauth.Namespace, func(current json.RawMessage) (json.RawMessage, error) {
		return json.RawMessage(`{"server_url":"http://192.0.2.7:32400"}`), nil
	})
	if err != nil {
		fmt.Println(err)
	}
	data, _ := os.ReadFile(path)
	fmt.Print(string(data))
	// Output:
	// {
	//   "theme": "dark",
	//   "plex": {
	//     "server_url": "http://192.0.2.7:32400"
	//   }
	// }
}
