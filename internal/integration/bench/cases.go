package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/oauth2"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/measure"
)

// The contenders, in the order of the table's columns. The others are compared with the
// second.
const (
	ours   = "plexauth"
	byHand = "net/http by hand"
	xoauth = "x/oauth2"
	cli    = "cli/oauth"
)

var contenders = []string{ours, byHand, xoauth, cli}

// operation is one thing that is measured for each contender that can do it.
type operation struct {
	name string
	by   map[string]func(*testing.B)
}

// operations returns the operations. They run in process, without a network or a server.
func operations(a *answers) []operation {
	return []operation{
		{"create a PIN", map[string]func(*testing.B){
			ours: func(b *testing.B) { benchStart(b, a) },
			byHand: func(b *testing.B) {
				p := newPlain(a.client(), measure.PlexTV)
				loop(b, func() error { _, err := p.Create(context.Background()); return err })
			},
			xoauth: func(b *testing.B) {
				x := newXOAuth2(a.client(), deviceTV)
				loop(b, func() error { _, err := x.create(); return err })
			},
			cli: func(b *testing.B) {
				x := newCLIOAuth(a.client(), deviceTV)
				loop(b, func() error { _, err := x.create(); return err })
			},
		}},
		{"check it once", map[string]func(*testing.B){
			ours: func(b *testing.B) { benchFinish(b, a) },
			byHand: func(b *testing.B) {
				p := newPlain(a.client(), measure.PlexTV)
				pin := must(p.Create(context.Background()))
				loop(b, func() error { _, err := p.Check(context.Background(), pin); return err })
			},
			xoauth: func(b *testing.B) {
				x := newXOAuth2(a.client(), deviceTV)
				d := must(x.create())
				loop(b, func() error { _, err := x.check(d); return err })
			},
			cli: func(b *testing.B) {
				x := newCLIOAuth(a.client(), deviceTV)
				d := must(x.create())
				loop(b, func() error { _, err := x.check(d); return err })
			},
		}},
		{"a whole login", map[string]func(*testing.B){
			ours: func(b *testing.B) {
				c := a.approved()
				loop(b, func() error { return login(c, nil) })
			},
			byHand: func(b *testing.B) {
				p := newPlain(a.approved(), measure.PlexTV)
				loop(b, func() error { _, err := p.login(context.Background()); return err })
			},
			xoauth: func(b *testing.B) { benchLogin(b, newXOAuth2(a.approved(), deviceTV).login) },
			cli:    func(b *testing.B) { benchLogin(b, newCLIOAuth(a.approved(), deviceTV).login) },
		}},
		{"a whole login, kept in a file", map[string]func(*testing.B){
			ours: func(b *testing.B) {
				c, path := a.approved(), configFile(b)
				before := must(os.ReadFile(path))
				loop(b, func() error {
					if err := os.WriteFile(path, before, 0o600); err != nil {
						return err
					}
					return login(c, plexauth.NewFileStore(path))
				})
			},
			byHand: func(b *testing.B) {
				p, path := newPlain(a.approved(), measure.PlexTV), configFile(b)
				before := must(os.ReadFile(path))
				loop(b, func() error {
					if err := os.WriteFile(path, before, 0o600); err != nil {
						return err
					}
					token, err := p.login(context.Background())
					if err != nil {
						return err
					}
					return writeAtomic(path, token)
				})
			},
		}},
		{"a request through Transport", map[string]func(*testing.B){
			ours: func(b *testing.B) {
				c := a.approved()
				p := must(plexauth.New(measure.Options(c)))
				check(b, signIn(p))
				benchGet(b, p.Transport(c.Transport))
			},
			byHand: func(b *testing.B) { benchGet(b, plainTransport{a.approved().Transport, "TEST_token-00000000"}) },
			xoauth: func(b *testing.B) {
				benchGet(b, &oauth2.Transport{
					Source: oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "TEST_token-00000000"}), Base: a.approved().Transport,
				})
			},
		}},
		{"FileStore.Update, beside temporary file, fsync and rename", map[string]func(*testing.B){
			ours:   benchFileStore,
			byHand: func(b *testing.B) { benchFile(b, writeAtomic) },
		}},
		{"FileStore.Update, beside os.WriteFile", map[string]func(*testing.B){
			ours:   benchFileStore,
			byHand: func(b *testing.B) { benchFile(b, writeUnsafe) },
		}},
	}
}

func (a *answers) client() *http.Client { return &http.Client{Transport: &service{answers: a}} }

func (a *answers) approved() *http.Client {
	s := &service{answers: a}
	s.approved.Store(true)
	return &http.Client{Transport: s}
}

func loop(b *testing.B, f func() error) {
	b.ReportAllocs()
	for b.Loop() {
		check(b, f())
	}
}

func benchLogin(b *testing.B, login func(context.Context) error) {
	loop(b, func() error { return login(context.Background()) })
}

func check(b *testing.B, err error) {
	if err != nil {
		b.Helper()
		b.Fatal(err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// benchStart measures a Start that makes a PIN. Start returns a pending PIN of the same kind,
// so the kinds alternate.
func benchStart(b *testing.B, a *answers) {
	strong := *a
	strong.created.Body = []byte(strings.Replace(string(a.created.Body), `"code":"`, `"code":"abcdefghijklmnopqrstu`, 1))
	wires := map[bool]http.RoundTripper{false: a.client().Transport, true: strong.client().Transport}
	c := &http.Client{}
	p := must(plexauth.New(measure.Options(c)))
	turn := false
	loop(b, func() error {
		turn = !turn
		c.Transport = wires[turn]
		_, err := p.Start(context.Background(), plexauth.PinOptions{Strong: turn})
		return err
	})
}

// benchFinish measures one check of each of many PINs. A second check of the same PIN within a
// second would get the result of the first. There are few at once, so that they stay in the
// processor's cache, as the one PIN of the others does.
func benchFinish(b *testing.B, a *answers) {
	c := a.client()
	var pending []*plexauth.PlexAuth
	loop(b, func() error {
		if len(pending) == 0 {
			b.StopTimer()
			for range 100 {
				p := must(plexauth.New(measure.Options(c)))
				must(p.Start(context.Background(), plexauth.PinOptions{}))
				pending = append(pending, p)
			}
			b.StartTimer()
		}
		p := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		_, err := p.Finish(context.Background())
		return err
	})
}

// login signs in, from a new client to a stored token and account.
func login(c *http.Client, store plexauth.ConfigStore) error {
	o := measure.Options(c)
	o.Store = store
	p, err := plexauth.New(o)
	if err != nil {
		return err
	}
	return signIn(p)
}

func signIn(p *plexauth.PlexAuth) error {
	if _, err := p.Start(context.Background(), plexauth.PinOptions{}); err != nil {
		return err
	}
	s, err := p.Finish(context.Background())
	if err == nil && (!s.Connected || s.User == "") {
		err = fmt.Errorf("the login ended as %+v", s)
	}
	return err
}

func benchGet(b *testing.B, t http.RoundTripper) {
	c := &http.Client{Transport: t}
	loop(b, func() error {
		resp, err := c.Get(measure.PlexTV + measure.UserPath)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	})
}

// configFile makes a config of 20 kB, most of which belongs to another program.
func configFile(b *testing.B) string {
	b.Helper()
	other := map[string]any{}
	for i := range 200 {
		other[fmt.Sprintf("setting_%03d", i)] = map[string]any{"enabled": i%2 == 0, "value": i, "note": "kept as it is"}
	}
	path := filepath.Join(b.TempDir(), "config.json")
	check(b, os.WriteFile(path, must(json.MarshalIndent(map[string]any{"other": other, "plex": map[string]any{}}, "", "  ")), 0o600))
	return path
}

func benchFileStore(b *testing.B) {
	s := plexauth.NewFileStore(configFile(b))
	n := 0
	loop(b, func() error {
		n++
		return s.Update(context.Background(), plexauth.Namespace, func(json.RawMessage) (json.RawMessage, error) {
			return json.RawMessage(fmt.Sprintf(`{"account_token":"TEST_%d"}`, n)), nil
		})
	})
}

func benchFile(b *testing.B, write func(path, token string) error) {
	path := configFile(b)
	n := 0
	loop(b, func() error {
		n++
		return write(path, fmt.Sprintf("TEST_%d", n))
	})
}
