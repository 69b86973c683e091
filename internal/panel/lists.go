package panel

import (
	"context"
	"net/http"
	"time"
)

// listMaxAge is how long a list of plex.tv's is kept, for other tabs.
const listMaxAge = 15 * time.Second

// list is what plex.tv listed last for a token. A gate of the panel guards it.
type list[T any] struct {
	readAt  time.Time
	tokenID string
	items   []T
}

// get returns the list. It asks plex.tv if the list is old, or another token's.
func (l *list[T]) get(ctx context.Context, host Host, ask func(context.Context) ([]T, *Problem)) ([]T, *Problem) {
	state, problem := host.State(ctx)
	if problem != nil {
		return nil, problem
	}
	if state.TokenID != "" && state.TokenID == l.tokenID && time.Since(l.readAt) < listMaxAge {
		return l.items, nil
	}
	items, problem := ask(ctx)
	if problem != nil {
		return nil, problem
	}
	l.readAt, l.tokenID, l.items = time.Now(), state.TokenID, append([]T{}, items...) // never null
	return l.items, nil
}

// serveServers answers GET servers.
func (p *Panel) serveServers(w http.ResponseWriter, r *http.Request) {
	servers, problem := readList(p, &p.servers, "servers", p.host.Servers, r)
	replyList(w, "servers", servers, problem)
}

// serveUsers answers GET users.
func (p *Panel) serveUsers(w http.ResponseWriter, r *http.Request) {
	users, problem := readList(p, &p.users, "users", p.host.Users, r)
	replyList(w, "users", users, problem)
}

// readList returns a list for r. At the gate of that name it waits for other requests.
func readList[T any](p *Panel, l *list[T], name string, ask func(context.Context) ([]T, *Problem), r *http.Request) ([]T, *Problem) {
	leave, err := p.gates.Enter(r.Context(), name)
	if err != nil {
		return nil, interrupted(err)
	}
	defer leave()
	return l.get(r.Context(), p.host, ask)
}

// replyList answers with a list under its name, or with a problem.
func replyList[T any](w http.ResponseWriter, name string, items []T, problem *Problem) {
	if problem != nil {
		replyProblem(w, problem)
		return
	}
	replyJSON(w, map[string][]T{name: items})
}
