package panel

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/plexauth/plexauth/internal/netaddr"
)

// returnName is the name of the page to which Plex sends the browser after a sign-in.
const returnName = "return"

const maxForwardURLBytes = 1000

// isReturnPage reports whether address is the return page of a panel at the origin that r
// comes from. Plex is given no other address, so that the panel sends no browser elsewhere.
// The path cannot be checked further: proxies and routers strip prefixes.
func isReturnPage(r *http.Request, address string) bool {
	u, err := url.Parse(address)
	if err != nil || len(address) > maxForwardURLBytes || !netaddr.IsPlainAddress(address, u) || !strings.HasSuffix(u.Path, "/"+returnName) {
		return false
	}
	if origin := r.Header.Get("Origin"); origin != "" { // browsers send it with every POST
		return netaddr.Origin(u) == origin
	}
	return netaddr.Origin(u) == netaddr.Origin(&url.URL{Scheme: u.Scheme, Host: r.Host})
}

// serveReturn answers GET return. The page has nothing of the login, which finishes without
// it: reading the state wakes up the worker. Its script closes the tab, or shows the panel.
func (p *Panel) serveReturn(w http.ResponseWriter, r *http.Request) {
	p.writeCurrent(w, r, page{script: "return.js", fragment: "return.html"})
}
