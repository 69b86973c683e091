package plexauth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// This example signs in with a device key and sends a request. The JWT expires after
// seven days; Transport and Token renew it.
func Example_deviceKey() {
	plex := plextest.NewServer()
	defer plex.Close()
	alice := plex.AddUser(plextest.User{Username: "alice"})

	auth, err := plexauth.New(plexauth.Options{
		Product:    "My App",
		Store:      plexauth.NewMemoryStore(), // a FileStore, in a program that is to remember
		DeviceKey:  true,
		Scopes:     []string{"username"},
		HTTPClient: plex.Client(), // leave this out to talk to Plex
	})
	if err != nil {
		log.Fatal(err)
	}
	status, err := auth.Login(context.Background(), plexauth.PinOptions{}, func(pin *plexauth.Pin) error {
		return plex.Approve(pin.Code, alice) // a person does this at pin.URL()
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("Signed in as", status.User, "for", time.Until(status.ExpiresAt).Round(time.Hour))

	client := &http.Client{Transport: auth.Transport(plex.Client().Transport)} // nil for the network
	req, err := http.NewRequest(http.MethodGet, "https://plex.tv/api/v2/user", nil)
	if err != nil {
		log.Fatal(err)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println("plex.tv says", resp.Status)
	// Output:
	// Signed in as alice for 168h0m0s
	// plex.tv says 200 OK
}

// This example uses a long-lived login for the media servers and a device key for
// plex.tv. Each has its own profile and client identifier in the store, and neither
// ends the other. The person approves each of them once.
func Example_twoProfiles() {
	plex := plextest.NewServer()
	defer plex.Close()
	alice := plex.AddUser(plextest.User{Username: "alice"})
	box := plex.AddMediaServer(alice, plextest.MediaServer{Name: "Box", Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}}})
	ctx := context.Background()
	approve := func(pin *plexauth.Pin) error { return plex.Approve(pin.Code, alice) }

	options := plexauth.Options{Product: "My App", Store: plexauth.NewMemoryStore(), HTTPClient: plex.Client()}
	servers, err := plexauth.New(options)
	if err != nil {
		log.Fatal(err)
	}
	options.Instance, options.DeviceKey = "device", true
	account, err := plexauth.New(options)
	if err != nil {
		log.Fatal(err)
	}

	if _, err := servers.Login(ctx, plexauth.PinOptions{}, approve); err != nil {
		log.Fatal(err)
	}
	if _, err := account.Login(ctx, plexauth.PinOptions{}, approve); err != nil {
		log.Fatal(err)
	}
	settings, err := servers.UseServer(ctx, box.MachineID)
	if err != nil {
		log.Fatal(err)
	}
	for _, auth := range []*plexauth.PlexAuth{servers, account} {
		status, err := auth.Verify(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(status.Instance, status.Connected, "expires:", !status.ExpiresAt.IsZero())
	}
	fmt.Println("a token for", settings.ServerURL != "", !settings.ServerToken.IsZero())
	// Output:
	// default true expires: false
	// device true expires: true
	// a token for true true
}

// This example verifies a JWT in another service, with plex.tv's public keys alone. The
// library itself verifies each JWT before it saves it.
func Example_verifyJWT() {
	plex := plextest.NewServer()
	defer plex.Close()
	alice := plex.AddUser(plextest.User{ID: 4711, Username: "alice"})
	auth, err := plexauth.New(plexauth.Options{Product: "My App", DeviceKey: true, Scopes: []string{"username"}, HTTPClient: plex.Client()})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if _, err := auth.Login(ctx, plexauth.PinOptions{}, func(pin *plexauth.Pin) error { return plex.Approve(pin.Code, alice) }); err != nil {
		log.Fatal(err)
	}
	token, err := auth.Token(ctx)
	if err != nil {
		log.Fatal(err)
	}
	settings, err := auth.Settings(ctx)
	if err != nil {
		log.Fatal(err)
	}

	// The other service keeps the keys, and reads them again when one is missing.
	verify := func(token, clientID string) (string, error) {
		req, err := http.NewRequest(http.MethodGet, "https://clients.plex.tv/api/v2/auth/keys", nil)
		if err != nil {
			return "", err
		}
		req.Header.Set("Accept", "application/json")
		req.Header.Set("X-Plex-Product", "My Service")
		req.Header.Set("X-Plex-Client-Identifier", "my-service")
		resp, err := plex.Client().Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		var keys jose.JSONWebKeySet
		if err := json.NewDecoder(resp.Body).Decode(&keys); err != nil {
			return "", err
		}
		parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.EdDSA}) // and no other
		if err != nil {
			return "", err
		}
		var standard jwt.Claims
		var plexs struct {
			User struct {
				ID       int64  `json:"id"` // the person; names change
				Username string `json:"username"`
			} `json:"user"`
		}
		i := slices.IndexFunc(keys.Keys, func(k jose.JSONWebKey) bool { return k.KeyID == parsed.Headers[0].KeyID })
		if i < 0 {
			return "", fmt.Errorf("signed by an unknown key")
		}
		if err := parsed.Claims(keys.Keys[i], &standard, &plexs); err != nil {
			return "", err
		}
		if err := standard.Validate(jwt.Expected{Issuer: "plex.tv", AnyAudience: jwt.Audience{clientID}, Time: time.Now()}); err != nil {
			return "", err
		}
		return fmt.Sprintf("%s, account %d", plexs.User.Username, plexs.User.ID), nil
	}
	who, err := verify(token.Secret(), settings.ClientID)
	fmt.Println(who, err)
	_, err = verify(token.Secret(), "another-client")
	fmt.Println("for another client:", err != nil)
	// Output:
	// alice, account 4711 <nil>
	// for another client: true
}

// This example moves a long-lived login to a device key. That ends the long-lived
// token, wherever it is used.
func ExamplePlexAuth_UseDeviceKey() {
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
	status, err := auth.UseDeviceKey(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(status.User, "until", !status.ExpiresAt.IsZero())
	fmt.Println("the long-lived token works:", plex.Token(alice, before.ClientID) != "")
	// Output:
	// alice until true
	// the long-lived token works: false
}
