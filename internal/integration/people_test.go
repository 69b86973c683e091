//go:build unix

package integration_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/integration/postgres"
	"github.com/plexauth/plexauth/internal/measure"
	"github.com/plexauth/plexauth/plextest"
	"github.com/plexauth/plexauth/sqlstore"
)

var peopleFlag = flag.Int("people", 1000, "people who wait in TestPeople")

func init() { children["people"] = func(args []string) error { return peopleMain(args[0]) } }

// peopleTask says what a child does: it signs in the people from First on, each in a document of
// their own, and takes orders on its standard input.
type peopleTask struct {
	First, People int
	Resume        bool // another process has started their logins
	URL           string
	CA            []byte // of its certificate
	DSN, Schema   string
}

// peopleOrder is what a child is told. It answers each order with a peopleEvent for each person, or one.
type peopleOrder struct {
	Do     string // one of the names below
	People []int  // of cancel and restart
}

// The orders, and the names of the events that answer them.
const (
	orderMeasure = "measure" // for a while, and report
	orderCancel  = "cancel"
	orderRestart = "restart" // with another kind of PIN, and wait
	orderReport  = "report"  // after the end of all logins, and end
	eventWaiting = "waiting" // all are
	eventEnded   = "ended"   // a login has
)

// peopleEvent is what a child says.
type peopleEvent struct {
	Name   string
	Person int
	How    string // how a login has ended: one of the names below, or an error
	At     time.Time
	Gap    time.Duration // the longest one between two polls of a PIN, so far
	Report peopleReport
}

const (
	howConnected  = "connected"
	howCancelled  = "cancelled"
	howSuperseded = "superseded"
)

// peopleReport is what a child has measured.
type peopleReport struct {
	Window   time.Duration // over which polls and reads were counted
	Polls    int
	Reads    int           // of the store
	MostRead int           // reads of one person's document
	Closest  time.Duration // between two polls of a PIN
	Longest  time.Duration
	InUse    float64 // bytes of heap and stacks a login while all wait
	Resident float64 // bytes a login while all wait
	Kept     float64 // bytes of heap and stacks a login once all have ended
	Leaks    string  // goroutines left behind
}

func document(person int) string { return fmt.Sprint("plex/person ", person) }

// people is a child.
type people struct {
	task  peopleTask
	auth  *plexauth.PlexAuth
	store *readCounter
	looks *looks
	idle  usage

	logins sync.WaitGroup
	mu     sync.Mutex // guards out
	out    *json.Encoder
}

// readCounter counts the reads of each document.
type readCounter struct {
	*sqlstore.Store
	mu    sync.Mutex
	reads map[string]int
}

func (s *readCounter) Load(ctx context.Context, namespace string) (json.RawMessage, error) {
	s.mu.Lock()
	s.reads[namespace]++
	s.mu.Unlock()
	return s.Store.Load(ctx, namespace)
}

// restart returns the counts, and begins to count from zero.
func (s *readCounter) restart() (total, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.reads {
		total, most = total+n, max(most, n)
	}
	s.reads = map[string]int{}
	return total, most
}

func peopleMain(arg string) error {
	var task peopleTask
	if err := json.Unmarshal([]byte(arg), &task); err != nil {
		return err
	}
	before := goleak.IgnoreCurrent()
	db, err := postgres.Open(task.DSN, task.Schema)
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(20)
	db.SetMaxIdleConns(20)
	store, err := sqlstore.Open(context.Background(), db, sqlstore.PostgreSQL)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(task.CA)
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots}}
	p := &people{
		task: task, out: json.NewEncoder(os.Stdout),
		store: &readCounter{Store: store, reads: map[string]int{}},
		looks: &looks{base: transport, pins: map[string]pinLooks{}, closest: time.Hour},
	}
	p.auth, err = plexauth.New(plexauth.Options{Product: "My App", BaseURL: task.URL, HTTPClient: &http.Client{Transport: p.looks}, Store: p.store})
	if err != nil {
		return err
	}
	if err := p.run(); err != nil {
		return err
	}
	r := p.report()
	db.Close()
	transport.CloseIdleConnections()
	if err := goleak.Find(before); err != nil {
		r.Leaks = err.Error()
	}
	p.say(peopleEvent{Name: orderReport, Report: r})
	return nil
}

func (p *people) say(e peopleEvent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.At, e.Gap = time.Now(), p.looks.longestGap()
	_ = p.out.Encode(e) // the parent may have ended
}

// run signs the people in, and obeys until it is told to report.
func (p *people) run() error {
	if err := p.warmUp(); err != nil {
		return err
	}
	if err := p.startAll(); err != nil {
		return err
	}
	go p.sayWaiting()
	orders := json.NewDecoder(os.Stdin)
	for {
		var o peopleOrder
		if err := orders.Decode(&o); err != nil {
			return err
		}
		switch o.Do {
		case orderMeasure:
			p.measure()
		case orderCancel, orderRestart:
			if err := p.interfere(o); err != nil {
				return err
			}
		case orderReport:
			p.logins.Wait()
			return nil
		}
	}
}

// warmUp opens the connections, and measures the idle process.
func (p *people) warmUp() error {
	auth := p.auth.Namespace(fmt.Sprint("plex/warm up ", os.Getpid()))
	if _, err := auth.Start(context.Background(), plexauth.PinOptions{}); err != nil {
		return err
	}
	if err := auth.Cancel(context.Background()); err != nil {
		return err
	}
	p.idle = measureProcess(p.looks)
	return nil
}

// startAll starts the logins, and lets all wait.
func (p *people) startAll() error {
	if !p.task.Resume {
		started := make(chan error, p.task.People)
		atOnce := make(chan struct{}, 8)
		for n := range p.task.People {
			atOnce <- struct{}{}
			go func() {
				_, err := p.auth.Namespace(document(p.task.First+n)).Start(context.Background(), plexauth.PinOptions{})
				started <- err
				<-atOnce
			}()
		}
		for range p.task.People {
			if err := <-started; err != nil {
				return err
			}
		}
	}
	for n := range p.task.People {
		p.wait(p.task.First + n)
	}
	return nil
}

// wait lets a login wait in the background, and says how it ends.
func (p *people) wait(person int) {
	p.logins.Go(func() {
		p.say(peopleEvent{Name: eventEnded, Person: person, How: p.signIn(person)})
	})
}

// signIn waits for the end of a login, and returns how it has ended.
func (p *people) signIn(person int) (how string) {
	auth := p.auth.Namespace(document(person))
	s, err := auth.Wait(context.Background())
	if p.task.Resume && errors.Is(err, plexauth.ErrNoPendingPin) && s.Connected {
		s, err = auth.Verify(context.Background()) // the killed process has saved the token, and perhaps not its account
	}
	switch {
	case err == nil && s.Connected:
		return howConnected
	case errors.Is(err, plexauth.ErrNoPendingPin):
		return howCancelled
	case errors.Is(err, plexauth.ErrPinSuperseded):
		return howSuperseded
	case err == nil:
		return fmt.Sprintf("%+v", s)
	}
	return err.Error()
}

// sayWaiting says it when each login has polled twice.
func (p *people) sayWaiting() {
	for p.looks.pinsWith(looksEach) < p.task.People && !p.task.Resume {
		time.Sleep(100 * time.Millisecond)
	}
	p.say(peopleEvent{Name: eventWaiting})
}

// peopleWindow is how long a child counts polls and reads.
const peopleWindow = 10 * time.Second

// measure counts for a while what all those who wait do.
func (p *people) measure() {
	p.store.restart()
	polls, began := p.looks.count(), time.Now()
	var resident []float64
	for time.Since(began) < peopleWindow {
		time.Sleep(100 * time.Millisecond)
		resident = append(resident, float64(measure.Resident()))
	}
	r := peopleReport{Window: time.Since(began), Polls: p.looks.count() - polls}
	r.Reads, r.MostRead = p.store.restart()
	inUse := math.Inf(1)
	for range 3 {
		inUse = min(inUse, float64(measure.InUse()))
	}
	r.InUse = (inUse - p.idle.inUse) / float64(p.task.People)
	r.Resident = (measure.Median(resident) - p.idle.resident) / float64(p.task.People)
	p.say(peopleEvent{Name: orderMeasure, Report: r})
}

// interfere cancels or restarts logins that wait in another process, all at once.
func (p *people) interfere(o peopleOrder) error {
	done := make(chan error, len(o.People))
	for _, person := range o.People {
		go func() { done <- p.interfereWith(person, o.Do) }()
	}
	for range o.People {
		if err := <-done; err != nil {
			return err
		}
	}
	return nil
}

func (p *people) interfereWith(person int, do string) (err error) {
	auth := p.auth.Namespace(document(person))
	if do == orderCancel {
		err = auth.Cancel(context.Background())
	} else {
		_, err = auth.Start(context.Background(), plexauth.PinOptions{Strong: true})
	}
	if err != nil {
		return err
	}
	p.say(peopleEvent{Name: do, Person: person})
	if do == orderRestart {
		p.wait(person)
	}
	return nil
}

// report measures the process once all logins have ended.
func (p *people) report() peopleReport {
	p.store.restart()
	p.looks.mu.Lock()
	p.looks.pins = nil // only plexauth's memory is of interest
	p.looks.mu.Unlock()
	kept := measureProcess(p.looks)
	return peopleReport{
		Closest: p.looks.closest, Longest: p.looks.longest,
		Kept: (kept.inUse - p.idle.inUse) / float64(p.task.People),
	}
}

// TestPeople lets a thousand people wait at once, or -people of them, each in a document of their
// own, over four processes and one PostgreSQL. Some logins are cancelled and some are started again by
// another process. One process is killed while approvals arrive, and another one goes on with its
// logins.
//
// G8, G26: each approval ends in its own document, with its own token. G6: no PIN is polled more
// than once a second. G27: the store is read every five seconds at most, and what another process
// does is noticed within that time and the next poll. G9: nothing stays.
func TestPeople(t *testing.T) {
	n := *peopleFlag
	if testing.Short() || raceDetector {
		n = min(n, 200)
	}
	w := newPeopleWorld(t, n)
	for i := range w.processes {
		w.start(i, false)
	}
	for _, c := range w.children {
		w.expect(c, eventWaiting)
	}
	t.Logf("%v: %d people wait", w.elapsed(), w.people)
	w.checkPace()
	changed := w.checkInterference()
	t.Logf("%v: %d logins were cancelled or restarted", w.elapsed(), len(changed))
	w.killOne()
	w.approve(func(int) bool { return true })
	for _, c := range w.children {
		if c != nil {
			w.order(c, peopleOrder{Do: orderReport})
		}
	}
	w.checkReports()
	w.checkDocuments()
	t.Logf("%v: all documents are as they must be", w.elapsed())
}

// peopleWorld is a database, a plex.tv and processes.
type peopleWorld struct {
	*testing.T
	began     time.Time
	people    int
	processes int
	each      int // people of a process
	task      peopleTask
	plex      *peoplePlex
	store     *sqlstore.Store
	clients   map[int]string // the client identifier of each person's document
	cancelled map[int]bool   // people
	children  []*peopleChild // nil: killed
}

// peopleChild is a process.
type peopleChild struct {
	cmd    *exec.Cmd
	in     io.Writer
	first  int
	events chan peopleEvent // closed when the process has ended

	mu    sync.Mutex
	ended map[int]peopleEvent
}

func newPeopleWorld(t *testing.T, n int) *peopleWorld {
	server := startPostgres(t)
	schema := server.schema(t)
	fake := plextest.NewServer() // for its certificate
	t.Cleanup(fake.Close)
	w := &peopleWorld{T: t, began: time.Now(), processes: 4, plex: newPeoplePlex(), store: server.store(t, schema), cancelled: map[int]bool{}}
	w.each = max(n/w.processes, 8)
	w.people = w.each * w.processes
	url, _, stop, err := measure.ServeHTTP2(w.plex, fake)
	require.NoError(t, err)
	t.Cleanup(stop)
	w.task = peopleTask{People: w.each, URL: url, CA: fake.CACertificate(), DSN: server.DSN, Schema: schema}
	return w
}

func (w *peopleWorld) elapsed() time.Duration {
	return time.Since(w.began).Round(100 * time.Millisecond)
}

// start starts the process of the i-th group of people.
func (w *peopleWorld) start(i int, resume bool) *peopleChild {
	task := w.task
	task.First, task.Resume = i*w.each, resume
	cmd := child(w.T, "people", encode(w.T, task))
	in, err := cmd.StdinPipe()
	require.NoError(w, err)
	out, err := cmd.StdoutPipe()
	require.NoError(w, err)
	require.NoError(w, cmd.Start())
	c := &peopleChild{cmd: cmd, in: in, first: task.First, events: make(chan peopleEvent, 1000), ended: map[int]peopleEvent{}}
	go c.read(out)
	w.children = append(w.children, c)
	return c
}

// read sorts what the process says, until it has ended.
func (c *peopleChild) read(out io.Reader) {
	defer close(c.events)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var e peopleEvent
		if json.Unmarshal(lines.Bytes(), &e) != nil { // the last line of a process that was killed
			continue
		}
		if e.Name != eventEnded {
			c.events <- e
			continue
		}
		c.mu.Lock()
		c.ended[e.Person] = e
		c.mu.Unlock()
	}
	_ = c.cmd.Wait() // what it has said counts
}

// how returns how the login of a person has ended in this process.
func (c *peopleChild) how(person int) (peopleEvent, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.ended[person]
	return e, ok
}

func (c *peopleChild) endedCount() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.ended)
}

func (w *peopleWorld) order(c *peopleChild, o peopleOrder) {
	require.NoError(w, json.NewEncoder(c.in).Encode(o))
}

// expect returns the next event of the process, which must have that name.
func (w *peopleWorld) expect(c *peopleChild, name string) peopleEvent {
	w.Helper()
	select {
	case e, ok := <-c.events:
		require.True(w, ok, "a process has ended, see its standard error")
		require.Equal(w, name, e.Name)
		return e
	case <-time.After(peoplePatience):
		require.Fail(w, "a process does not answer: "+name)
	}
	return peopleEvent{}
}

// peoplePatience is far more than ten thousand logins take on a busy machine.
const peoplePatience = 10 * time.Minute

// leastReadGap is the time between two reads of one document by polls.
const leastReadGap = 4900 * time.Millisecond

// checkPace checks how often those who wait poll, and read the store.
func (w *peopleWorld) checkPace() {
	for _, c := range w.children {
		w.order(c, peopleOrder{Do: orderMeasure})
	}
	var sum peopleReport
	for _, c := range w.children {
		r := w.expect(c, orderMeasure).Report
		assert.LessOrEqual(w, r.MostRead, int(r.Window/leastReadGap)+1, "reads of one document in %v", r.Window)
		sum.Polls += r.Polls
		sum.Reads += r.Reads
		sum.Window += r.Window / time.Duration(w.processes)
		sum.InUse += r.InUse / float64(w.processes)
		sum.Resident += r.Resident / float64(w.processes)
	}
	w.Logf("%v: %.2f polls a second and login, %.1f polls for each read of the store, %.1f kB in use and %.1f kB resident a login",
		w.elapsed(), float64(sum.Polls)/sum.Window.Seconds()/float64(w.people), float64(sum.Polls)/float64(sum.Reads), sum.InUse/1000, sum.Resident/1000)
	require.NotZero(w, sum.Polls)
}

// checkInterference lets the second process cancel logins of the first, and restart others. It
// checks how soon the first notices.
func (w *peopleWorld) checkInterference() (changed []int) {
	here, there := w.children[0], w.children[1]
	some := min(w.each/4, 25)
	for n := range 2 * some {
		changed = append(changed, n)
	}
	orders := []struct{ do, how string }{{orderCancel, howCancelled}, {orderRestart, howSuperseded}}
	did := map[int]peopleEvent{}
	for i, o := range orders {
		who := changed[i*some : (i+1)*some]
		w.order(there, peopleOrder{Do: o.do, People: who})
		for range who {
			e := w.expect(there, o.do)
			did[e.Person] = e
		}
	}
	var slowest, gap time.Duration
	for i, o := range orders {
		for _, person := range changed[i*some : (i+1)*some] {
			w.cancelled[person] = o.do == orderCancel
			w.until("another process's "+o.do+" was noticed", func() bool { _, ok := here.how(person); return ok })
			e, _ := here.how(person)
			assert.Equal(w, o.how, e.How, "person %d", person)
			slowest, gap = max(slowest, e.At.Sub(did[person].At)), max(gap, e.Gap)
		}
	}
	w.Logf("%v: what another process did was noticed after %v at most; polls were up to %v apart", w.elapsed(), slowest.Round(time.Millisecond), gap.Round(time.Millisecond))
	assert.Less(w, slowest, 5*time.Second+gap+slack, "the first poll after five seconds must notice it")
	return changed
}

func (w *peopleWorld) until(what string, done func() bool) {
	w.Helper()
	for end := time.Now().Add(peoplePatience); !done(); time.Sleep(20 * time.Millisecond) {
		require.True(w, time.Now().Before(end), "it never happened that %s", what)
	}
}

// approve approves the logins of the people who are to be, and have not been cancelled.
func (w *peopleWorld) approve(who func(person int) bool) {
	if w.clients == nil {
		w.clients = map[int]string{}
		for person := range w.people {
			w.clients[person] = w.settings(person).ClientID
		}
	}
	clients := map[string]bool{}
	for person, client := range w.clients {
		if who(person) && !w.cancelled[person] {
			clients[client] = true
		}
	}
	w.plex.approve(clients)
}

// settings returns what the store holds about a person.
func (w *peopleWorld) settings(person int) plexauth.Settings {
	auth, err := plexauth.New(plexauth.Options{Product: "My App", Store: w.store, Namespace: document(person)})
	require.NoError(w, err)
	s, err := auth.Settings(w.Context())
	require.NoError(w, err)
	return s
}

// killOne approves half of the logins, kills the third process while it saves its tokens, and
// lets another process go on.
func (w *peopleWorld) killOne() {
	c := w.children[2]
	w.approve(func(person int) bool { return person%2 == 0 })
	w.until("a quarter of the logins of the third process have ended", func() bool { return c.endedCount() >= w.each/4 })
	require.NoError(w, c.cmd.Process.Kill())
	w.until("the killed process has ended", func() bool { _, open := <-c.events; return !open })
	w.Logf("%v: a process was killed after %d of its %d logins", w.elapsed(), c.endedCount(), w.each)
	w.children[2] = nil
	w.start(2, true)
	w.expect(w.children[w.processes], eventWaiting)
}

// checkReports checks what the processes say in the end.
func (w *peopleWorld) checkReports() {
	for _, c := range w.children {
		if c == nil { // killed
			continue
		}
		r := w.expect(c, orderReport).Report
		w.Logf("%v: a process has ended; no PIN polled within %v, nor later than %v; %.0f bytes a login kept", w.elapsed(), r.Closest, r.Longest.Round(time.Millisecond), r.Kept)
		assert.GreaterOrEqual(w, r.Closest, time.Second, "between two polls of one PIN")
		assert.Empty(w, r.Leaks, "goroutines left behind")
		for person := c.first; person < c.first+w.each; person++ {
			e, ok := c.how(person)
			if assert.True(w, ok, "person %d waits still", person) && !slices.Contains([]string{howCancelled, howSuperseded}, e.How) {
				assert.Equal(w, howConnected, e.How, "person %d", person)
			}
		}
	}
}

// checkDocuments checks that each document has the token of its own approval, and no other.
func (w *peopleWorld) checkDocuments() {
	approved := w.plex.approved()
	tokens := map[string]bool{}
	for person := range w.people {
		s := w.settings(person)
		pin := approved[w.clients[person]]
		require.Equal(w, w.clients[person], s.ClientID)
		if w.cancelled[person] {
			assert.Nil(w, pin)
			assert.True(w, s.AccountToken.IsZero(), "person %d has a token", person)
			continue
		}
		require.NotNil(w, pin, "person %d was not approved", person)
		tokens[pin.token()] = true
		assert.Equal(w, pin.token(), s.AccountToken.Secret(), "token of person %d", person)
		assert.Equal(w, fmt.Sprint(pin.account()), s.CloudAccountID, "account of person %d", person)
		assert.Equal(w, pin.username(), s.Username, "name of person %d", person)
	}
	assert.Len(w, tokens, w.people-len(w.cancelled)/2)
}
