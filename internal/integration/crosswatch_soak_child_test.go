//go:build unix

package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/crosswatch"
)

func init() { children["crosswatch soak"] = func(args []string) error { return soakMain(args[0]) } }

// soakTask says what a child does. It counts, and signs in a profile of its own, until its
// input ends or it is killed.
type soakTask struct {
	Dir, URL string
	Instance string
	Process  int
	Life     int // how often this process was started before
	Seed     uint64
}

// livesRemembered is how many lives of a process have names of their own. An old copy must not
// be from before the life that had the same name.
const livesRemembered = 16

// key is the member in which this life counts. Beside it is a secret with the same number.
func (t soakTask) key() string { return fmt.Sprintf("soak_%d_%d", t.Process, t.Life%livesRemembered) }

// number is the nth number of this life. Numbers of later lives are higher.
func (t soakTask) number(n int) int { return t.Life*100_000 + n }

func soakSecret(key string, number int) string { return fmt.Sprintf("SECRET_%s_%d", key, number) }

// soakEvent is what a child says, on one line of its output.
type soakEvent struct {
	Name   string
	At     time.Time
	Number int
	Token  string
	Own    bool // this life has written the token
	Code   string
	Text   string
}

// The names of events.
const (
	soakBegins   = "begins"   // with the token that the store has
	soakTries    = "tries"    // to write a number
	soakWrote    = "wrote"    // the number, according to Update
	soakSignsIn  = "signs in" // or out
	soakPIN      = "PIN"      // waits for its approval
	soakSigned   = "signed"   // in, with the token, or out
	soakTakeover = "takeover" // a login that another life had begun has ended with the error in Text
	soakLost     = "lost"     // what the Store had written, as Text says
	soakEnds     = "ends"     // on purpose
)

// soakStore notes what its life writes of a login. The rest may be from a life that was killed.
type soakStore struct {
	*crosswatch.Store
	instance string
	mu       sync.Mutex
	own      soakLoginState
}

// soakLoginState is what a profile has of a login.
type soakLoginState struct {
	token, code string
}

// Update implements [plexauth.ConfigStore].
func (s *soakStore) Update(ctx context.Context, namespace string, edit func(json.RawMessage) (json.RawMessage, error)) error {
	var before, after soakLoginState
	err := s.Store.Update(ctx, namespace, func(current json.RawMessage) (json.RawMessage, error) {
		next, err := edit(current)
		if err == nil {
			before, after = readLoginState(current, s.instance), readLoginState(next, s.instance)
		}
		return next, err
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && after.token != before.token {
		s.own.token = after.token
	}
	if err == nil && after.code != before.code {
		s.own.code = after.code
	}
	return err
}

// wrote returns what this life wrote last.
func (s *soakStore) wrote() soakLoginState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.own
}

// readLoginState reads a profile. What it cannot read is empty.
func readLoginState(raw json.RawMessage, instance string) soakLoginState {
	type profile struct {
		Token string                `json:"account_token"`
		PIN   struct{ Code string } `json:"_pending_pin"`
	}
	var plex struct {
		profile
		Instances map[string]profile
	}
	_ = json.Unmarshal(raw, &plex) // the Store checks it
	p := plex.profile
	if instance != "" {
		p = plex.Instances[instance]
	}
	return soakLoginState{p.Token, p.PIN.Code}
}

// soakChild is a child.
type soakChild struct {
	task  soakTask
	store *soakStore
	auth  *plexauth.PlexAuth

	number int    // that count wrote last
	token  string // that the profile had after the latest login

	mu     sync.Mutex // guards the fields below
	random *rand.Rand
	out    *json.Encoder
}

func soakMain(arg string) error {
	var task soakTask
	if err := json.Unmarshal([]byte(arg), &task); err != nil {
		return err
	}
	base, err := crosswatch.Open(task.Dir)
	if err != nil {
		return err
	}
	store := &soakStore{Store: base, instance: task.Instance, own: soakLoginState{"none yet", "none yet"}}
	auth, err := plexauth.New(plexauth.Options{Product: "My App", Store: store, BaseURL: task.URL, Instance: task.Instance})
	if err != nil {
		return err
	}
	c := &soakChild{
		task: task, store: store, auth: auth, out: json.NewEncoder(os.Stdout),
		random: rand.New(rand.NewPCG(task.Seed, uint64(task.Process<<32|task.Life))),
	}
	return c.run()
}

func (c *soakChild) run() error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	settings, err := c.auth.Settings(ctx)
	if err != nil {
		return err
	}
	c.say(soakEvent{Name: soakBegins, Token: settings.AccountToken.Secret()})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent closes it, or ends
		stop()
	}()
	failed := make(chan error, 2)
	for _, work := range []func(context.Context) error{c.count, c.signIn} {
		go func() {
			err := work(ctx)
			stop()
			failed <- err
		}()
	}
	for range cap(failed) {
		if err := <-failed; err != nil {
			return err
		}
	}
	if err := c.store.Close(); err != nil {
		return err
	}
	if settings, err = c.auth.Settings(context.Background()); err != nil {
		return err
	}
	c.say(soakEvent{Name: soakEnds, Number: c.number, Text: c.task.key(), Token: settings.AccountToken.Secret()})
	return nil
}

func (c *soakChild) say(e soakEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.At = time.Now()
	_ = c.out.Encode(e) // the parent may have ended
}

// pause waits for a random time.
func (c *soakChild) pause(ctx context.Context, least, most time.Duration) {
	c.mu.Lock()
	d := least + time.Duration(c.random.Int64N(int64(most-least)))
	c.mu.Unlock()
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// count writes numbers, each with an Update of its own, and reads them again.
func (c *soakChild) count(ctx context.Context) error {
	key := c.task.key()
	for n := 1; ctx.Err() == nil; n++ {
		number := c.task.number(n)
		c.say(soakEvent{Name: soakTries, Number: number})
		err := c.store.Update(context.Background(), plexauth.Namespace, func(current json.RawMessage) (json.RawMessage, error) {
			if n > 1 {
				c.compare("an Update", current)
			}
			return withCount(current, c.task.Instance, key, number)
		})
		if err != nil {
			return err
		}
		c.number = number
		c.say(soakEvent{Name: soakWrote, Number: number})
		for range 3 {
			c.pause(ctx, 200*time.Millisecond, 600*time.Millisecond)
			current, err := c.store.Load(context.Background(), plexauth.Namespace)
			if err != nil {
				return err
			}
			c.compare("a Load", current)
		}
	}
	return nil
}

// compare says so if the document that the Store has given to what lacks its last number.
func (c *soakChild) compare(what string, current json.RawMessage) {
	key := c.task.key()
	if doc, err := readSoakDocument(current); err != nil || doc.counts[key] != c.number || doc.secrets[key] != soakSecret(key, c.number) {
		c.say(soakEvent{Name: soakLost, Text: fmt.Sprintf("%s got %d and %q for %s, which was %d (%v)", what, doc.counts[key], doc.secrets[key], key, c.number, err)})
	}
}

// signIn signs in and out, and looks at the token in between.
func (c *soakChild) signIn(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := c.signInOnce(ctx); err != nil || ctx.Err() != nil {
			return err
		}
		if err := c.watchToken(ctx); err != nil {
			return err
		}
		if c.heads() || ctx.Err() != nil {
			continue // the next login replaces this one
		}
		c.say(soakEvent{Name: soakSignsIn})
		if _, err := c.auth.SignOut(context.Background()); err != nil {
			return err
		}
		if err := c.signed(); err != nil {
			return err
		}
		if c.token != "" {
			c.say(soakEvent{Name: soakLost, Text: "a sign-out left a token"})
		}
		if err := c.watchToken(ctx); err != nil {
			return err
		}
	}
	return nil
}

// heads tosses a coin.
func (c *soakChild) heads() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.random.IntN(2) == 0
}

// signInOnce signs the profile in. If it takes up a PIN that another life has made, that may have
// been used already, or an old copy may remove it, which no one repairs.
func (c *soakChild) signInOnce(ctx context.Context) error {
	c.say(soakEvent{Name: soakSignsIn})
	pin, err := c.auth.Start(ctx, plexauth.PinOptions{})
	if err != nil {
		return endOf(ctx, err)
	}
	takenUp := c.store.wrote().code != pin.Code
	c.say(soakEvent{Name: soakPIN, Code: pin.Code})
	status, err := c.auth.Wait(ctx)
	switch {
	case ctx.Err() != nil:
		return nil
	case err == nil && status.Connected:
	case takenUp:
		c.say(soakEvent{Name: soakTakeover, Text: fmt.Sprint(err)})
	default:
		c.say(soakEvent{Name: soakLost, Text: fmt.Sprintf("the login with %s ended: connected %v, %v", pin.Code, status.Connected, err)})
	}
	return c.signed()
}

// endOf returns err, unless the child ends anyway.
func endOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// signed says with which token the profile is signed in now.
func (c *soakChild) signed() error {
	settings, err := c.auth.Settings(context.Background())
	if err != nil {
		return err
	}
	c.token = settings.AccountToken.Secret()
	c.say(soakEvent{Name: soakSigned, Token: c.token, Own: c.store.wrote().token == c.token})
	return nil
}

// watchToken looks for a while whether the token stays that this life has written.
func (c *soakChild) watchToken(ctx context.Context) error {
	for range 5 {
		c.pause(ctx, 100*time.Millisecond, 800*time.Millisecond)
		settings, err := c.auth.Settings(context.Background())
		if err != nil {
			return err
		}
		if now := settings.AccountToken.Secret(); now != c.token && c.store.wrote().token == c.token {
			c.say(soakEvent{Name: soakLost, Text: fmt.Sprintf("the token is %q, and was %q", now, c.token)})
			c.token = now
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil
}

// withCount returns the namespace with the number and its secret.
func withCount(current json.RawMessage, instance, key string, number int) (json.RawMessage, error) {
	whole := map[string]any{}
	dec := json.NewDecoder(bytes.NewReader(current))
	dec.UseNumber()
	if err := dec.Decode(&whole); err != nil {
		return nil, err
	}
	profile := whole
	if instance != "" {
		profile = within(within(whole, "instances"), instance)
	}
	profile[key], profile[key+"_token"] = number, soakSecret(key, number)
	return json.Marshal(whole)
}

// within returns the member name of whole, an object. If it is missing, within adds an empty one.
func within(whole map[string]any, name string) map[string]any {
	if o, ok := whole[name].(map[string]any); ok {
		return o
	}
	o := map[string]any{}
	whole[name] = o
	return o
}
