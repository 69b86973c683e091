package panel

import (
	"net/http"
	"strings"

	"github.com/plexauth/plexauth/internal/netaddr"
)

// answer ends a POST: with its problem, or with the state of the profile.
func (p *Panel) answer(w http.ResponseWriter, r *http.Request, problem *Problem) {
	if problem != nil {
		replyProblem(w, problem)
		return
	}
	v, problem := p.currentView(r.Context())
	if problem != nil {
		replyProblem(w, problem)
		return
	}
	p.replyView(w, v)
}

// start answers POST start.
func (p *Panel) start(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Strong        bool   `json:"strong"`
		ForwardURL    string `json:"forward_url"`
		SwitchAccount *bool  `json:"switch_account"`
	}
	if problem := decode(w, r, &body); problem != nil {
		replyProblem(w, problem)
		return
	}
	if body.ForwardURL != "" && !(body.Strong && isReturnPage(r, body.ForwardURL)) {
		replyProblem(w, badForward())
		return
	}
	leave, err := p.gates.Enter(r.Context(), "start") // the second click finds the login of the first
	if err != nil {
		return // the browser has gone
	}
	defer leave()
	problem := p.host.Start(r.Context(), StartOptions{body.Strong, body.ForwardURL, body.SwitchAccount})
	if problem == nil {
		p.worker.notify(nil)
	}
	p.answer(w, r, problem)
}

// cancel answers POST cancel.
func (p *Panel) cancel(w http.ResponseWriter, r *http.Request) {
	if problem := decode(w, r, &struct{}{}); problem != nil {
		replyProblem(w, problem)
		return
	}
	problem := p.host.Cancel(r.Context())
	if problem == nil {
		p.worker.notify(nil)
	}
	p.answer(w, r, problem)
}

// disconnect answers POST disconnect.
func (p *Panel) disconnect(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Revoke bool `json:"revoke"`
	}
	if problem := decode(w, r, &body); problem != nil {
		replyProblem(w, problem)
		return
	}
	problem := p.host.Disconnect(r.Context(), body.Revoke)
	switch {
	case problem == nil:
		p.worker.notify(nil)
	case problem.Kind == NotRevoked: // the profile is disconnected nevertheless
		p.worker.notify(problem)
		problem = nil
	}
	p.answer(w, r, problem)
}

// inspect answers POST inspect.
func (p *Panel) inspect(w http.ResponseWriter, r *http.Request) {
	if problem := decode(w, r, &struct{}{}); problem != nil {
		replyProblem(w, problem)
		return
	}
	problem := p.host.Inspect(r.Context())
	p.worker.notify(nil)
	p.answer(w, r, problem)
}

// chooseServer answers POST server.
func (p *Panel) chooseServer(w http.ResponseWriter, r *http.Request) {
	var body struct {
		MachineID string `json:"machine_id"`
		URL       string `json:"url"`
	}
	if problem := decode(w, r, &body); problem != nil {
		replyProblem(w, problem)
		return
	}
	machineID := strings.TrimSpace(body.MachineID)
	var problem *Problem
	switch {
	case body.URL != "" && !isAddress(body.URL):
		replyProblem(w, badAddress())
		return
	case body.URL != "":
		problem = p.host.UseAddress(r.Context(), body.URL)
	case machineID != "":
		problem = p.host.UseServer(r.Context(), machineID)
	default:
		replyProblem(w, badRequest("Choose a server by machine_id or by url."))
		return
	}
	p.worker.notify(nil)
	p.answer(w, r, problem)
}

// isAddress reports whether text can be the address of a media server.
func isAddress(text string) bool { return len(netaddr.TypedURLs(text)) > 0 }

// chooseUser answers POST user.
func (p *Panel) chooseUser(w http.ResponseWriter, r *http.Request) {
	var body struct {
		UUID string `json:"uuid"`
		PIN  string `json:"pin"`
	}
	if problem := decode(w, r, &body); problem != nil {
		replyProblem(w, problem)
		return
	}
	leave, err := p.gates.Enter(r.Context(), "user") // PINs are tried one after the other
	if err != nil {
		return // the browser has gone
	}
	defer leave()
	complete, problem := p.host.ChooseUser(r.Context(), body.UUID, body.PIN)
	switch {
	case problem != nil:
		replyProblem(w, problem)
		return
	case complete:
		p.worker.announce()
	default:
		p.worker.startSearch()
	}
	p.answer(w, r, nil)
}

// probe answers POST probe.
func (p *Panel) probe(w http.ResponseWriter, r *http.Request) {
	var body struct {
		URL string `json:"url"`
	}
	if problem := decode(w, r, &body); problem != nil {
		replyProblem(w, problem)
		return
	}
	switch {
	case body.URL == "":
		p.probeSaved(w, r)
	case !isAddress(body.URL):
		replyProblem(w, badAddress())
	default:
		p.probeAddress(w, r, body.URL)
	}
}

// probeAddress answers in one word: more would let the panel scan a network.
func (p *Panel) probeAddress(w http.ResponseWriter, r *http.Request, address string) {
	found, problem := p.host.Probe(r.Context(), address)
	result := "unreachable"
	switch {
	case found.URL != "":
		result = "ok"
	case found.MachineID != "":
		result = "wrong_server"
	case problem != nil && problem.isStore():
		replyProblem(w, problem)
		return
	}
	replyJSON(w, map[string]string{"result": result})
}

// probeSaved answers with what is wrong with the account and the saved server.
func (p *Panel) probeSaved(w http.ResponseWriter, r *http.Request) {
	type check struct {
		OK      bool     `json:"ok"`
		Problem *Problem `json:"problem"`
	}
	account := p.host.CheckAccount(r.Context())
	found, server := p.host.Probe(r.Context(), "")
	found.Addresses = append([]ProbedAddress{}, found.Addresses...) // never null
	if server == nil && found.TokenAccepted {
		p.worker.serverAnswered()
	}
	replyJSON(w, map[string]any{
		"account": check{account == nil, account},
		"server": struct {
			check
			ProbeResult
		}{check{server == nil, server}, found},
	})
}
