package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// bidi is a connection to a browser. It speaks WebDriver BiDi, which Chromium and Firefox
// have in common: https://w3c.github.io/webdriver-bidi/.
type bidi struct {
	conn *websocket.Conn

	mu      sync.Mutex
	last    int                       // the number of the last command
	waiting map[int]chan<- bidiAnswer // by the number of their command
	records map[string]*record        // by browsing context
	err     error                     // why the connection has ended
}

// record is what a tab has done since it was opened.
type record struct {
	mu   sync.Mutex
	log  []string // its console
	sent []string // the URLs that it requested
}

// bidiAnswer is an answer to a command, or an event.
type bidiAnswer struct {
	ID      int
	Method  string
	Params  json.RawMessage
	Result  json.RawMessage
	Error   string
	Message string
}

// dialBiDi connects to the browser that listens at url, until ctx ends.
func dialBiDi(ctx context.Context, url string) (*bidi, error) {
	conn, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(-1) // a screenshot is large
	c := &bidi{conn: conn, waiting: map[int]chan<- bidiAnswer{}, records: map[string]*record{}}
	go c.read(ctx)
	return c, nil
}

// read hands the answers to those who wait for them, and keeps what events tell.
func (c *bidi) read(ctx context.Context) {
	for {
		_, b, err := c.conn.Read(ctx)
		var a bidiAnswer
		if err == nil {
			err = json.Unmarshal(b, &a)
		}
		c.mu.Lock()
		if err != nil {
			c.err = fmt.Errorf("the browser has gone: %w", err)
			for _, waits := range c.waiting {
				close(waits)
			}
			c.waiting = nil
			c.mu.Unlock()
			return
		}
		waits := c.waiting[a.ID]
		delete(c.waiting, a.ID)
		c.mu.Unlock()
		switch {
		case a.Method != "":
			c.hear(a.Method, a.Params)
		case waits != nil:
			waits <- a
		}
	}
}

// bidiError is the browser's refusal of a command.
type bidiError struct{ method, kind, message string }

func (e *bidiError) Error() string { return e.method + ": " + e.kind + ": " + e.message }

// bidiParams are the parameters of a command.
type bidiParams = map[string]any

// call sends a command, waits for the answer and decodes it into result, unless that is nil.
func (c *bidi) call(ctx context.Context, method string, params bidiParams, result any) error {
	answer := make(chan bidiAnswer, 1)
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return c.err
	}
	c.last++
	id := c.last
	c.waiting[id] = answer
	c.mu.Unlock()
	b, err := json.Marshal(map[string]any{"id": id, "method": method, "params": params})
	if err != nil {
		return err
	}
	if err := c.conn.Write(context.WithoutCancel(ctx), websocket.MessageText, b); err != nil {
		return err
	}
	select {
	case a, ok := <-answer:
		switch {
		case !ok:
			return c.err
		case a.Error != "":
			return &bidiError{method, a.Error, a.Message}
		case result == nil:
			return nil
		}
		return json.Unmarshal(a.Result, result)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, ctx.Err())
	}
}

// record returns the record of a browsing context.
func (c *bidi) record(id string) *record {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.records[id] == nil {
		c.records[id] = &record{}
	}
	return c.records[id]
}

// alias lets another name stand for a browsing context.
func (c *bidi) alias(name, id string) {
	r := c.record(id)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.records[name] = r
}

// hear keeps what an event tells.
func (c *bidi) hear(method string, params json.RawMessage) {
	var p struct {
		Context string
		Source  struct{ Context string }
		Level   string
		Text    string
		Request struct{ URL string }
		Session string
		Params  struct {
			Entry struct{ Source, Level, Text string }
		}
	}
	if json.Unmarshal(params, &p) != nil {
		return
	}
	switch method {
	case "log.entryAdded":
		r := c.record(p.Source.Context)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.log = append(r.log, p.Level+": "+p.Text)
	case "goog:cdp.Log.entryAdded":
		if e := p.Params.Entry; e.Source != "network" { // an answer of 4xx does not count
			r := c.record(p.Session)
			r.mu.Lock()
			defer r.mu.Unlock()
			r.log = append(r.log, e.Level+": "+e.Text)
		}
	case "network.beforeRequestSent":
		r := c.record(p.Context)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.sent = append(r.sent, p.Request.URL)
	}
}

// evaluate evaluates an expression in a browsing context. It waits for a promise. If the page
// has just left for another one, it asks the other one: nothing was evaluated in the first.
func (c *bidi) evaluate(ctx context.Context, id, js string) (bidiValue, error) {
	var r struct {
		Result           bidiValue
		ExceptionDetails *struct{ Text string }
	}
	params := bidiParams{"expression": js, "target": bidiParams{"context": id}, "awaitPromise": true}
	err := c.call(ctx, "script.evaluate", params, &r)
	for refused := (*bidiError)(nil); errors.As(err, &refused) && strings.Contains(refused.message, "Cannot find context") && ctx.Err() == nil; {
		time.Sleep(30 * time.Millisecond)
		err = c.call(ctx, "script.evaluate", params, &r)
	}
	if err == nil && r.ExceptionDetails != nil {
		err = errors.New(r.ExceptionDetails.Text)
	}
	return r.Result, err
}

// bidiValue is a value of JavaScript.
type bidiValue struct {
	Type     string
	Value    json.RawMessage
	SharedID string // of a node
}

// MarshalJSON returns the value as JSON.stringify would.
func (v bidiValue) MarshalJSON() ([]byte, error) {
	switch v.Type {
	case "string", "boolean":
		return v.Value, nil
	case "number":
		if _, err := strconv.ParseFloat(string(v.Value), 64); err != nil {
			return []byte("null"), nil // NaN and the like come as strings
		}
		return v.Value, nil
	case "array":
		var all []bidiValue
		if err := json.Unmarshal(v.Value, &all); err != nil {
			return nil, err
		}
		return json.Marshal(all)
	}
	return []byte("null"), nil
}
