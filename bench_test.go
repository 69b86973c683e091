package plexauth_test

import (
	"context"
	"net/http"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/measure"
)

// recorded is an answer of plex.tv's, from testdata.
func recorded(b *testing.B, status int, name string) measure.Answer {
	b.Helper()
	body, err := os.ReadFile("testdata/" + name)
	require.NoError(b, err)
	return measure.Answer{Status: status, Header: measure.JSON, Body: body}
}

// BenchmarkLook is one look at a pending PIN, store included, beside the plain
// loop.
func BenchmarkLook(b *testing.B) {
	created, pending := recorded(b, 201, "pin-created.json"), recorded(b, 200, "pin-pending.json")
	b.Run("baseline", func(b *testing.B) {
		c := &measure.Client{HTTP: &http.Client{Transport: pending}, Origin: measure.PlexTV}
		pin, err := c.Create(b.Context()) // it is pending as soon as it is there
		require.NoError(b, err)
		b.ReportAllocs()
		for b.Loop() {
			if token, err := c.Check(b.Context(), pin); err != nil || token != "" {
				b.Fatal(err)
			}
		}
	})
	b.Run("plexauth", func(b *testing.B) {
		c := &http.Client{Transport: created}
		p, err := plexauth.New(measure.Options(c))
		require.NoError(b, err)
		_, err = p.Start(b.Context(), plexauth.PinOptions{})
		require.NoError(b, err)
		c.Transport = pending
		look, err := plexauth.Looker(b.Context(), p)
		require.NoError(b, err)
		b.ReportAllocs()
		for b.Loop() {
			if err := look(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkStart makes a PIN and remembers it, beside a plain request that
// remembers nothing.
func BenchmarkStart(b *testing.B) {
	created := recorded(b, 201, "pin-created.json")
	b.Run("baseline", func(b *testing.B) {
		c := &measure.Client{HTTP: &http.Client{Transport: created}, Origin: measure.PlexTV}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Create(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("plexauth", func(b *testing.B) {
		wires := map[bool]measure.Answer{false: created, true: recorded(b, 201, "pin-strong-created.json")}
		c := &http.Client{}
		p, err := plexauth.New(measure.Options(c))
		require.NoError(b, err)
		strong := false
		b.ReportAllocs()
		for b.Loop() {
			strong = !strong // else the pending PIN would be returned
			c.Transport = wires[strong]
			if _, err := p.Start(b.Context(), plexauth.PinOptions{Strong: strong}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkPendingLogins says what one pending Wait costs at 10,000 of them.
func BenchmarkPendingLogins(b *testing.B) {
	const logins = 10_000
	created, pending := recorded(b, 201, "pin-created.json"), recorded(b, 200, "pin-pending.json")
	for b.Loop() {
		c := &http.Client{Transport: created}
		ctx, cancel := context.WithCancel(b.Context())
		all := make([]*plexauth.PlexAuth, logins)
		before, goroutines := measure.InUse(), runtime.NumGoroutine()
		for i := range all {
			p, err := plexauth.New(measure.Options(c))
			require.NoError(b, err)
			_, err = p.Start(ctx, plexauth.PinOptions{})
			require.NoError(b, err)
			all[i] = p
		}
		c.Transport = pending
		done := make(chan struct{}, logins)
		for _, p := range all {
			go func() {
				_, _ = p.Wait(ctx)
				done <- struct{}{}
			}()
		}
		for runtime.NumGoroutine() < goroutines+logins {
			runtime.Gosched()
		}
		after := measure.InUse()
		b.ReportMetric(float64(after-before)/logins, "B/login")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/logins, "goroutines/login")
		cancel()
		for range all {
			<-done
		}
	}
}
