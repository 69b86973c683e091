//go:build unix

package integration_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// soakDocument is what a reader finds in the namespace "plex".
type soakDocument struct {
	counts  map[string]int
	secrets map[string]string // beside the counts
	tokens  map[string]string // of each profile
	saves   int               // the number of CrossWatch's last save, in its own profile
}

// soakMine is CrossWatch's own profile.
const soakMine = "PLEX-P09"

// readSoakDocument reads the namespace "plex". Where it is not decrypted, the secrets are not
// either.
func readSoakDocument(raw json.RawMessage) (soakDocument, error) {
	doc := soakDocument{counts: map[string]int{}, secrets: map[string]string{}, tokens: map[string]string{}}
	var plex struct {
		Instances map[string]json.RawMessage
	}
	if err := json.Unmarshal(raw, &plex); err != nil {
		return doc, err
	}
	profiles := map[string]json.RawMessage{"": raw}
	maps.Copy(profiles, plex.Instances)
	for id, profile := range profiles {
		members := map[string]json.RawMessage{}
		if err := json.Unmarshal(profile, &members); err != nil {
			return doc, err
		}
		if err := doc.readProfile(id, members); err != nil {
			return doc, err
		}
	}
	return doc, nil
}

func (d *soakDocument) readProfile(id string, members map[string]json.RawMessage) error {
	var token string
	if raw := members["account_token"]; raw != nil {
		if err := json.Unmarshal(raw, &token); err != nil {
			return err
		}
	}
	d.tokens[id] = token
	if id == soakMine {
		return json.Unmarshal(members["saves"], &d.saves)
	}
	for key, value := range members {
		if !strings.HasPrefix(key, "soak_") {
			continue
		}
		if key, secret := strings.CutSuffix(key, "_token"); secret {
			var text string
			if err := json.Unmarshal(value, &text); err != nil {
				return err
			}
			d.secrets[key] = text
			continue
		}
		var n int
		if err := json.Unmarshal(value, &n); err != nil {
			return err
		}
		d.counts[key] = n
	}
	return nil
}

// soakRest returns a hash of the text of a config without its namespace "plex".
func soakRest(config []byte) string {
	begin := bytes.Index(config, []byte("\n  \"plex\": {"))
	end := begin + bytes.Index(config[max(begin, 0):], []byte("\n  }"))
	if begin < 0 || end < begin {
		return "there is no plex"
	}
	sum := sha256.Sum256(slices.Concat(config[:begin], config[end:]))
	return hex.EncodeToString(sum[:])
}

// soakLedger has what both sides have said, and judges by that what the file has.
//
// A Store that lives repairs what an old copy overwrites, so its numbers and its token must
// always come back. No one repairs what a killed process has written: that may be lost to a
// save of CrossWatch's that has an older value, and to nothing else.
type soakLedger struct {
	mu      sync.Mutex
	counts  map[string]*soakCount
	logins  map[string]*soakLogin // by profile
	tokens  map[string]*soakLogin // the latest of each profile that has ended
	over    map[int]int           // how many lives of each process were killed
	saves   []soakSave            // of CrossWatch, the latest ones
	rests   map[int][]string      // hashes of the rest of the file, by the number of the save
	saved   int                   // the number of the latest save that was completed
	overdue time.Duration         // the longest time that a value of a living process was missing
	figures soakFigures
}

// soakFigures are what the test reports.
type soakFigures struct {
	goWrites, goLogins, goSignOuts, goKills int
	cwSaves, cwKills                        int
	readings, decrypted                     int
	lost                                    int // values of a living process that its own Store did not have
	takeovers                               int // logins that a killed process had begun, and an old copy has ended
	reverted                                int // values of killed processes that an old copy has overwritten
}

// soakCount is what a life has written in its member.
type soakCount struct {
	wrote, tries int
	at           time.Time // when the Update of wrote began
	began        time.Time // when the Update of tries began
	said         time.Time // when wrote was written at the latest
	dead         bool
	reverted     bool
	missing      time.Time // since when the file does not have wrote; zero: it has
}

// soakLogin is the token of a profile.
type soakLogin struct {
	token   string
	began   time.Time // when the login with that token began
	said    time.Time // when it had ended; zero: the login is under way
	dead    bool
	missing time.Time
}

// soakSave is a save of CrossWatch.
type soakSave struct {
	at  time.Time
	doc soakDocument
}

// soakSavesFor is how long the ledger keeps a save. An old copy undoes what is younger.
const soakSavesFor = 2 * time.Minute

func newSoakLedger() *soakLedger {
	return &soakLedger{counts: map[string]*soakCount{}, logins: map[string]*soakLogin{}, tokens: map[string]*soakLogin{}, over: map[int]int{}, rests: map[int][]string{}}
}

// heard takes up what a child says.
func (l *soakLedger) heard(task soakTask, e soakEvent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch e.Name {
	case soakTries:
		c := l.counts[task.key()]
		if c == nil || c.dead {
			c = &soakCount{dead: l.isOver(task)}
			l.counts[task.key()] = c
		}
		c.tries, c.began = e.Number, e.At
	case soakWrote:
		l.figures.goWrites++
		c := l.counts[task.key()]
		c.wrote, c.at, c.said = e.Number, c.began, e.At
	case soakSignsIn:
		if login := l.logins[task.Instance]; login != nil {
			login.dead = true // from now on the file may have another token
		}
		l.logins[task.Instance] = &soakLogin{began: e.At, dead: l.isOver(task)}
	case soakSigned:
		login := l.logins[task.Instance]
		login.token, login.said, login.dead = e.Token, e.At, !e.Own || l.isOver(task)
		l.tokens[task.Instance] = login
		if e.Token == "" {
			l.figures.goSignOuts++
		} else {
			l.figures.goLogins++
		}
	case soakTakeover:
		l.figures.takeovers++
	case soakLost:
		l.figures.lost++
	}
}

// killed says that a life is over.
func (l *soakLedger) killed(task soakTask) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.figures.goKills++
	l.over[task.Process] = task.Life + 1
	if c := l.counts[task.key()]; c != nil {
		c.dead = true
	}
	if login := l.logins[task.Instance]; login != nil {
		login.dead = true
	}
}

// isOver reports whether the life was killed. What it has said before may be heard later.
func (l *soakLedger) isOver(task soakTask) bool { return task.Life < l.over[task.Process] }

// saving takes up what CrossWatch says before it saves.
func (l *soakLedger) saving(n int, rest string, at time.Time, doc soakDocument) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rests[n] = append(l.rests[n], rest)
	delete(l.rests, n-1000)
	l.saves = append(l.saves, soakSave{at, doc})
	for time.Since(l.saves[0].at) > soakSavesFor {
		l.saves = l.saves[1:]
	}
}

// hasSaved takes up what CrossWatch says after it has saved.
func (l *soakLedger) hasSaved(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.saved = max(l.saved, n)
	l.figures.cwSaves++
}

// judgeRest returns what is wrong with the parts of a config that are CrossWatch's alone. The
// reading began when CrossWatch had completed the save with the number least.
func (l *soakLedger) judgeRest(config []byte, doc soakDocument, least int) error {
	var whole struct{ Runtime struct{ Saves int } }
	if err := json.Unmarshal(config, &whole); err != nil {
		return err
	}
	n, rest := whole.Runtime.Saves, soakRest(config)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case n < least:
		return fmt.Errorf("the file has CrossWatch's save %d, but save %d was completed before", n, least)
	case !slices.Contains(l.rests[n], rest):
		return fmt.Errorf("what the file has beside plex is not what CrossWatch wrote in its save %d", n)
	case doc.saves != n:
		return fmt.Errorf("CrossWatch's own profile is that of its save %d, and the rest of save %d", doc.saves, n)
	}
	return nil
}

// judge returns what is wrong with the decrypted document that was read after the time before.
func (l *soakLedger) judge(doc soakDocument, before time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	var errs []error
	for key, c := range l.counts {
		if n := doc.counts[key]; n != 0 && doc.secrets[key] != soakSecret(key, n) {
			errs = append(errs, fmt.Errorf("%s is %d, but its secret is %q", key, n, doc.secrets[key]))
		}
		if c.dead {
			errs = append(errs, l.judgeDead(key, c, doc.counts[key]))
		} else if c.said.Before(before) {
			l.note(&c.missing, doc.counts[key] < c.wrote, now)
		}
	}
	for id, login := range l.logins {
		if !login.dead && !login.said.IsZero() && login.said.Before(before) {
			l.note(&login.missing, doc.tokens[id] != login.token, now)
		}
	}
	return errors.Join(errs...)
}

// judgeDead returns what is wrong with n, the number that the file has of a killed process.
func (l *soakLedger) judgeDead(key string, c *soakCount, n int) error {
	if c.wrote == 0 || n == c.wrote || n == c.tries {
		return nil
	}
	if !l.savedSince(c.at, func(saved soakDocument) bool { return saved.counts[key] == n }) {
		return fmt.Errorf("%s is %d, after a killed process has written %d, and CrossWatch has not saved an old copy with that", key, n, c.wrote)
	}
	if !c.reverted {
		c.reverted = true
		l.figures.reverted++
	}
	return nil
}

// judgeFound returns what is wrong with the token that a new life has found in its profile. valid
// says whether plex.tv accepts it.
func (l *soakLedger) judgeFound(id, token string, valid bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := l.tokens[id]
	underWay := l.logins[id] != nil && l.logins[id].said.IsZero()
	switch {
	case last == nil || token == last.token || valid || underWay && token == "":
		return nil
	case l.savedSince(last.began, func(saved soakDocument) bool { return saved.tokens[id] == token }):
		l.figures.reverted++
		return nil
	}
	return fmt.Errorf("the profile %q has the token %q, after a killed process has saved %q, and CrossWatch has not saved an old copy with that", id, token, last.token)
}

// missesAny reports whether the file lacked something of a living process when it was read last.
func (l *soakLedger) missesAny() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.counts {
		if !c.dead && !c.missing.IsZero() {
			return true
		}
	}
	for _, login := range l.logins {
		if !login.dead && !login.missing.IsZero() {
			return true
		}
	}
	return false
}

// note keeps since when a value of a living process is missing.
func (l *soakLedger) note(since *time.Time, missing bool, now time.Time) {
	switch {
	case !missing:
		*since = time.Time{}
	case since.IsZero():
		*since = now
	default:
		l.overdue = max(l.overdue, now.Sub(*since))
	}
}

// savedSince reports whether CrossWatch has saved such a document since then.
func (l *soakLedger) savedSince(since time.Time, is func(soakDocument) bool) bool {
	return slices.ContainsFunc(l.saves, func(s soakSave) bool { return !s.at.Before(since) && is(s.doc) })
}
