package storetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/plexauth/plexauth"
)

// These cases are about what is stored. Most read with the handle that they write with.

// errStop is the error of an edit that only looks at current.
var errStop = errors.New("storetest: an edit that gives up")

func checkEmpty(ctx context.Context, a, _ plexauth.ConfigStore) error {
	if err := expect(ctx, a, namespace, ""); err != nil {
		return err
	}
	var current json.RawMessage
	err := a.Update(ctx, namespace, func(c json.RawMessage) (json.RawMessage, error) {
		current = bytes.Clone(c)
		return nil, errStop
	})
	if !errors.Is(err, errStop) {
		return fmt.Errorf("the Update did not call edit, or did not return its error: %v", err)
	}
	if current != nil {
		return fmt.Errorf("current is %s, want nil", brief(current))
	}
	return nil
}

func checkRoundTrip(ctx context.Context, a, _ plexauth.ConfigStore) error {
	return inOrder(
		puts(ctx, a, namespace, `{"client_id":"one"}`),
		expects(ctx, a, namespace, `{"client_id":"one"}`),
		puts(ctx, a, namespace, `{"server_url":"two"}`),
		expects(ctx, a, namespace, `{"server_url":"two"}`),
	)
}

// checkTwoHandles reads with each handle before the other one writes, so that a handle with a
// cache returns an old object.
func checkTwoHandles(ctx context.Context, a, b plexauth.ConfigStore) error {
	for n, handles := range [][2]plexauth.ConfigStore{{a, b}, {b, a}, {a, b}} {
		writer, reader := handles[0], handles[1]
		value, next := fmt.Sprintf(`{"n":%d}`, 2*n+1), fmt.Sprintf(`{"n":%d}`, 2*n+2)
		err := inOrder(
			func() error { _, err := reader.Load(ctx, namespace); return err },
			puts(ctx, writer, namespace, value),
			expects(ctx, reader, namespace, value),
			puts(ctx, writer, namespace, next),
			func() error {
				return reader.Update(ctx, namespace, func(current json.RawMessage) (json.RawMessage, error) {
					if !same(current, raw(next)) {
						return nil, fmt.Errorf("current is %s, want %s", brief(current), next)
					}
					return json.RawMessage(`{"n":0}`), nil
				})
			},
			expects(ctx, writer, namespace, `{"n":0}`),
			expects(ctx, reader, namespace, `{"n":0}`),
		)
		if err != nil {
			return err
		}
	}
	return nil
}

func checkCurrent(ctx context.Context, a, _ plexauth.ConfigStore) error {
	if err := put(ctx, a, namespace, ` {"list":[ 1,{}],"text":"x"} `); err != nil {
		return err
	}
	loaded, err := a.Load(ctx, namespace)
	if err != nil {
		return err
	}
	err = a.Update(ctx, namespace, func(current json.RawMessage) (json.RawMessage, error) {
		if !bytes.Equal(current, loaded) {
			return nil, fmt.Errorf("current is %s, Load returned %s", brief(current), brief(loaded))
		}
		return nil, errStop
	})
	if !errors.Is(err, errStop) {
		return fmt.Errorf("the Update: %v", err)
	}
	return nil
}

func checkDelete(ctx context.Context, a, _ plexauth.ConfigStore) error {
	return inOrder(
		puts(ctx, a, namespace, ""), // removing an absent namespace is not an error
		puts(ctx, a, namespace, `{"n":1}`),
		puts(ctx, a, namespace, ""),
		expects(ctx, a, namespace, ""),
		puts(ctx, a, namespace, ""),
		puts(ctx, a, namespace, `{"n":2}`),
		expects(ctx, a, namespace, `{"n":2}`),
	)
}

func checkEmptyObject(ctx context.Context, a, _ plexauth.ConfigStore) error {
	return inOrder(
		puts(ctx, a, namespace, `{}`),
		expects(ctx, a, namespace, `{}`),
		puts(ctx, a, "storetest 2", `{"n":{}}`),
		expects(ctx, a, "storetest 2", `{"n":{}}`),
	)
}

func checkOrder(ctx context.Context, a, _ plexauth.ConfigStore) error {
	const value = `{"zeta":"","server_url":"","a future field":[{"y":null,"b":true}],"account_token":"","_pending_pin":{"id":1,"code":"","created":2},"Alpha":""}`
	return inOrder(puts(ctx, a, namespace, value), expects(ctx, a, namespace, value))
}

func checkSpelling(ctx context.Context, a, _ plexauth.ConfigStore) error {
	for i, value := range []string{
		`{"n":[10.0,1e16,1E+2,-0,0.10,12345678901234567890123,1e400]}`,
		`{"t":["<&>/","\u003c\u0026","\/","é","\u00e9"]}`,
		`{"\u0074":""}`,
	} {
		namespace := fmt.Sprintf("storetest %d", i)
		if err := inOrder(puts(ctx, a, namespace, value), expects(ctx, a, namespace, value)); err != nil {
			return err
		}
	}
	return nil
}

func checkOddDocuments(ctx context.Context, a, _ plexauth.ConfigStore) error {
	const depth = 500
	for what, v := range map[string]string{
		"letters of every kind": `"naïve Ω 漢字 😀 e` + "\u0301 \u2028 \u202e \x7f" + `"`,
		"a NUL":                 `"\u0000"`,
		"half a surrogate pair": `"\ud800"`,
		"control characters":    `"\u0001\b\f\n\r\t\\\""`,
		"null":                  `null`,
		"SQL":                   `"'; DROP TABLE x; -- $1 ? :name %s"`,
		"depth":                 strings.Repeat(`[`, depth) + strings.Repeat(`]`, depth),
	} {
		value := `{"v":` + v + `}`
		if err := inOrder(puts(ctx, a, namespace, value), expects(ctx, a, namespace, value)); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	long := `{"` + strings.Repeat("k", 10_000) + `":""}`
	return inOrder(puts(ctx, a, "storetest 2", long), expects(ctx, a, "storetest 2", long))
}

// minCapacity is the size in bytes of an object that every store can hold.
const minCapacity = 128 << 10

func checkLarge(ctx context.Context, a, _ plexauth.ConfigStore) error {
	value := `{"v":"` + strings.Repeat("0123456789abcdef", minCapacity/16)
	value = value[:minCapacity-2] + `"}`
	return inOrder(puts(ctx, a, namespace, value), expects(ctx, a, namespace, value), puts(ctx, a, namespace, `{"v":1}`), expects(ctx, a, namespace, `{"v":1}`))
}

// maxNameBytes is how long a namespace may be.
const maxNameBytes = 200

func checkNamespaces(ctx context.Context, a, _ plexauth.ConfigStore) error {
	long := strings.Repeat("x", maxNameBytes)
	names := []string{
		"plex", "Plex", "plex ", " plex", "plex.v", "plex/v", "plex/V", "plex/v/", "plex//v", "../plex", "plex/..", "*", "#", "0", "@this", "a|b", "null", "{}", "$1", "?1", ":n",
		`"`, `\`, `\"`, `\u0041`, "A", "'", "plex/it's", "'; DROP TABLE x; --", "%", "_", "plex/%", "plex/_", "%00", "<&>", "naïve", "nai\u0308ve", "ß", "ss", "漢字", "😀", "👩\u200d👧", "\u2028", "\ufffd", "\U0010ffff",
		long[:64], long[:128], long[:199] + "y", long[:200], strings.Repeat("😀", maxNameBytes/4),
	}
	object := func(i int) string { return fmt.Sprintf(`{"v":%d}`, i) }
	for i, name := range names {
		if err := put(ctx, a, name, object(i)); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	for i, name := range names {
		if err := expect(ctx, a, name, object(i)); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	return nil
}

func checkOthers(ctx context.Context, a, b plexauth.ConfigStore) error {
	const other = "storetest, another"
	if err := put(ctx, a, other, `{"kept": [1.0, "<"]}`); err != nil {
		return err
	}
	before, err := a.Load(ctx, other)
	if err != nil {
		return err
	}
	for _, value := range []string{`{"n":1}`, `{"n":2}`, ""} {
		if err := put(ctx, a, namespace, value); err != nil {
			return err
		}
		after, err := a.Load(ctx, other)
		if err != nil {
			return err
		}
		if !bytes.Equal(before, after) {
			return fmt.Errorf("an Update of another namespace to %s changed %s to %s", brief(raw(value)), brief(before), brief(after))
		}
	}

	// Each handle writes a namespace of its own, at the same time.
	const times = 20
	stores, names := []plexauth.ConfigStore{a, b}, []string{"storetest a", "storetest b"}
	err = atOnce(len(stores), func(i int) error {
		for n := range times {
			if err := put(ctx, stores[i], names[i], fmt.Sprintf(`{"n":%d}`, n)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	last := fmt.Sprintf(`{"n":%d}`, times-1)
	return inOrder(expects(ctx, a, names[0], last), expects(ctx, a, names[1], last))
}
