package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"runtime/pprof"
	"strconv"
	"syscall"
	"time"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/measure"
	"github.com/plexauth/plexauth/plextest"
)

// shared is plexauth with one client and store for all logins, each in a document of its own.
// In ours each login has a client and a store of its own.
const shared = "plexauth, shared"

// task says what a process does in the waits. Each contender has a process of its own, so
// that its memory can be measured, and so has the server.
type task struct {
	Client string
	Heap   string // file for a profile of the heap while the logins wait; empty: none
	Logins int
	Pace   int           // seconds between two checks
	Time   time.Duration // how long is measured, after two checks of each login
	URL    string        // of the server; empty: in process
	CA     []byte        // of its certificate
}

// waits is what a process has measured.
type waits struct {
	Resident   float64       // bytes per login, as the operating system sees it
	InUse      float64       // bytes of heap and stacks per login after a collection, the least of several
	Goroutines float64       // per login, between two checks
	CPU        time.Duration // per check
	Allocs     float64       // per check
	Pace       float64       // checks per login in the time of one pace
	Finished   time.Duration // from the approval of all to the end of the last
	Left       int           // goroutines more than before
	Kept       float64       // bytes of heap and stacks per login more than before, once all have ended
	Documents  float64       // bytes of Kept that documents hold which are stored without any login
}

// server is what the server's process says about itself.
type server struct {
	URL string
	CA  []byte
}

// serve answers on a TLS listener until standard input ends. The routes /approve and
// /connections are for the process that measures.
func serve() error {
	a, err := record()
	if err != nil {
		return err
	}
	s := &service{answers: a}
	fake := plextest.NewServer()
	defer fake.Close()
	mux := http.NewServeMux()
	url, conns, stop, err := measure.ServeHTTP2(mux, fake)
	if err != nil {
		return err
	}
	defer stop()
	mux.Handle("/", s)
	mux.HandleFunc("POST /approve", func(http.ResponseWriter, *http.Request) { s.approved.Store(true) })
	mux.HandleFunc("GET /connections", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, conns.Load()) })
	if err := json.NewEncoder(os.Stdout).Encode(server{url, fake.CACertificate()}); err != nil {
		return err
	}
	_, _ = os.Stdin.Read(make([]byte, 1))
	return nil
}

// measureWaits starts the processes, and returns what the client's process has measured.
func measureWaits(t task, http2 bool) (*waits, error) {
	if http2 {
		cmd, err := process("server", nil)
		if err != nil {
			return nil, err
		}
		in, err := cmd.StdinPipe()
		if err != nil {
			return nil, err
		}
		defer in.Close()
		out, err := cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		defer func() { in.Close(); _ = cmd.Wait() }()
		var s server
		if err := json.NewDecoder(out).Decode(&s); err != nil {
			return nil, err
		}
		t.URL, t.CA = s.URL, s.CA
	}
	cmd, err := process("waits", t)
	if err != nil {
		return nil, err
	}
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.Client, err)
	}
	var w waits
	return &w, json.Unmarshal(out, &w)
}

// leaveWithin bounds the time that goroutines have to end after the last login.
const leaveWithin = 10 * time.Second

const roleEnv = "PLEXAUTH_BENCH_ROLE"

func process(role string, arg any) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(arg)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, string(b))
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	cmd.Stderr = os.Stderr
	return cmd, nil
}

// play is the main function of a process that process has started.
func play(role, arg string) error {
	if role == "server" {
		return serve()
	}
	var t task
	if err := json.Unmarshal([]byte(arg), &t); err != nil {
		return err
	}
	if t.Heap != "" {
		runtime.MemProfileRate = 1
	}
	w, err := t.run()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(w)
}

// run starts the logins, measures them while they wait, and approves them.
func (t task) run() (*waits, error) {
	c, local, err := t.client()
	if err != nil {
		return nil, err
	}
	begin, documents := t.contender(c)
	if _, err := begin(); err != nil { // opens the connection
		return nil, err
	}
	debug.FreeOSMemory()
	idle := usage{inUse(), measure.Resident(), runtime.NumGoroutine()}
	ended, err := t.waitAll(begin)
	if err != nil {
		return nil, err
	}
	for start := local.checks.Load(); local.checks.Load() < start+2*int64(t.Logins); time.Sleep(100 * time.Millisecond) {
		if len(ended) > 0 {
			return nil, fmt.Errorf("a login ended early: %w", <-ended)
		}
	}
	debug.FreeOSMemory() // memory that only the starts have needed
	w := t.measure(local, idle)
	if err := t.profileHeap(); err != nil {
		return nil, err
	}

	if err := t.approve(c, local); err != nil {
		return nil, err
	}
	approved := time.Now()
	for range t.Logins {
		if err := <-ended; err != nil {
			return nil, err
		}
	}
	w.Finished = time.Since(approved)
	for end := time.Now().Add(leaveWithin); ; time.Sleep(100 * time.Millisecond) {
		if w.Left = max(0, runtime.NumGoroutine()-idle.goroutines); w.Left == 0 || time.Now().After(end) {
			w.Kept = (float64(inUse()) - float64(idle.inUse)) / float64(t.Logins)
			w.Documents, err = documents()
			return w, err
		}
	}
}

// client returns the HTTP client of the logins. local counts their checks, and answers them
// unless there is a server.
func (t task) client() (c *http.Client, local *service, err error) {
	a, err := record()
	if err != nil {
		return nil, nil, err
	}
	local = &service{answers: a}
	if t.URL == "" {
		return &http.Client{Transport: local}, local, nil
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(t.CA)
	return &http.Client{Transport: &counted{service: local, base: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots},
	}}}, local, nil
}

// waitAll starts the logins, lets them wait, and returns how they end.
func (t task) waitAll(begin func() (wait, error)) (<-chan error, error) {
	all := make([]wait, t.Logins)
	for i := range all {
		var err error
		if all[i], err = begin(); err != nil {
			return nil, err
		}
	}
	ended := make(chan error, t.Logins)
	for _, wait := range all {
		go func() {
			<-time.After(rand.N(time.Duration(t.Pace) * time.Second)) // people do not come all at once; Sleep would keep a timer
			ended <- wait(context.Background())
		}()
	}
	return ended, nil
}

// usage is what the process takes at one moment.
type usage struct {
	inUse      uint64
	resident   int64
	goroutines int
}

// measure measures what the process takes more than idle.
func (t task) measure(local *service, idle usage) *waits {
	w := &waits{}
	n := float64(t.Logins)
	var resident, goroutines []float64
	checks, cpu, allocs, start := local.checks.Load(), cpuTime(), allocations(), time.Now()
	for time.Since(start) < t.Time {
		time.Sleep(100 * time.Millisecond)
		resident = append(resident, float64(measure.Resident()))
		goroutines = append(goroutines, float64(runtime.NumGoroutine()))
	}
	took, made := time.Since(start), float64(local.checks.Load()-checks)
	w.CPU = time.Duration(float64(cpuTime()-cpu) / made)
	w.Allocs = float64(allocations()-allocs) / made
	w.Pace = made / took.Seconds() / n * float64(t.Pace)
	w.Resident = (measure.Median(resident) - float64(idle.resident)) / n
	w.Goroutines = (measure.Median(goroutines) - float64(idle.goroutines)) / n
	used := inUse()
	for range 5 { // requests under way come and go; the least is what waiting takes
		time.Sleep(50 * time.Millisecond)
		used = min(used, inUse())
	}
	w.InUse = (float64(used) - float64(idle.inUse)) / n
	return w
}

// profileHeap writes a profile of the heap to the file t.Heap, if there is to be one.
func (t task) profileHeap() error {
	if t.Heap == "" {
		return nil
	}
	f, err := os.Create(t.Heap)
	if err != nil {
		return err
	}
	defer f.Close()
	runtime.GC()
	return pprof.WriteHeapProfile(f)
}

// wait waits for the end of a login.
type wait func(context.Context) error

// contender returns a function that starts a login, and one that returns the bytes per login
// that the documents of all logins hold, once these have ended.
func (t task) contender(c *http.Client) (start func() (wait, error), documents func() (float64, error)) {
	plex, device := measure.PlexTV, deviceTV
	if t.URL != "" {
		plex, device = t.URL, t.URL
	}
	pace := time.Duration(t.Pace) * time.Second
	documents = func() (float64, error) { return 0, nil }
	switch t.Client {
	case byHand:
		p := newPlain(c, plex)
		start = func() (wait, error) {
			pin, err := p.Create(context.Background())
			return func(ctx context.Context) error { return p.wait(ctx, pin, pace) }, err
		}
	case xoauth:
		x := newXOAuth2(c, device)
		start = func() (wait, error) {
			d, err := x.create()
			if err == nil {
				d.Interval = int64(t.Pace)
			}
			return func(ctx context.Context) error { return x.wait(ctx, d) }, err
		}
	case cli:
		x := newCLIOAuth(c, device)
		start = func() (wait, error) {
			d, err := x.create()
			if err == nil {
				d.Interval = t.Pace
			}
			return func(ctx context.Context) error { return x.wait(ctx, d) }, err
		}
	default:
		p := &people{options: measure.Options(c), shared: t.Client == shared}
		p.options.BaseURL, p.options.PollInterval = t.URL, pace
		start = p.start
		if p.shared {
			documents = p.documents
		}
	}
	return start, documents
}

// people sign in with plexauth.
type people struct {
	options plexauth.Options
	shared  bool // each has a document of one client and store, and not a client of their own
	client  *plexauth.PlexAuth
	begun   int // documents
}

func (p *people) start() (wait, error) {
	if p.client == nil || !p.shared {
		p.options.Store = plexauth.NewMemoryStore()
		var err error
		if p.client, err = plexauth.New(p.options); err != nil {
			return nil, err
		}
	}
	person := p.client
	if p.shared {
		person = p.client.Namespace(name(p.begun))
		p.begun++
	}
	_, err := person.Start(context.Background(), plexauth.PinOptions{})
	return func(ctx context.Context) error { _, err := person.Wait(ctx); return err }, err
}

func name(i int) string { return "plex/" + strconv.Itoa(i) }

// documents puts all documents into another store, which has seen no login, and returns the
// bytes per document that it then holds.
func (p *people) documents() (float64, error) {
	ctx := context.Background()
	before, other := measure.Memory().HeapAlloc, plexauth.NewMemoryStore()
	for i := range p.begun {
		err := other.Update(ctx, name(i), func(json.RawMessage) (json.RawMessage, error) {
			return p.options.Store.Load(ctx, name(i))
		})
		if err != nil {
			return 0, err
		}
	}
	held := float64(measure.Memory().HeapAlloc) - float64(before)
	runtime.KeepAlive(other)
	return held / float64(p.begun), nil
}

func (t task) approve(c *http.Client, local *service) error {
	local.approved.Store(true)
	if t.URL == "" {
		return nil
	}
	resp, err := c.Get(t.URL + "/connections")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var conns int
	if _, err := fmt.Fscan(resp.Body, &conns); err != nil || conns != 1 {
		return fmt.Errorf("%d connections, not one (%w)", conns, err)
	}
	resp, err = c.Post(t.URL+"/approve", "", nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// counted counts the checks that are sent to the server.
type counted struct {
	*service
	base http.RoundTripper
}

func (c *counted) RoundTrip(r *http.Request) (*http.Response, error) {
	if path := r.URL.Path; path == tokenPath || path == c.pinPath {
		c.checks.Add(1)
	}
	return c.base.RoundTrip(r)
}

// inUse returns the bytes of live objects and stacks, without the gaps between them.
func inUse() uint64 {
	m := measure.Memory()
	return m.HeapAlloc + m.StackInuse
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail with this argument
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func allocations() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:objects"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
