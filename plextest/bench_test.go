package plextest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/plexauth/plexauth/plextest"
)

// BenchmarkLook measures what one poll of a PIN costs in the fake. Subtract it
// from the results of a client's benchmark.
func BenchmarkLook(b *testing.B) {
	srv := plextest.NewServer()
	defer srv.Close()
	client := srv.Client()
	send := func(method, url string) (body []byte) {
		r, err := http.NewRequestWithContext(b.Context(), method, url, nil)
		if err != nil {
			b.Fatal(err)
		}
		r.Header = http.Header{"Accept": {"application/json"}, "X-Plex-Client-Identifier": {"bench"}, "X-Plex-Product": {"Bench"}}
		resp, err := client.Do(r)
		if err != nil {
			b.Fatal(err)
		}
		if body, err = io.ReadAll(resp.Body); err != nil {
			b.Fatal(err)
		}
		resp.Body.Close()
		return body
	}
	var p pin
	if err := json.Unmarshal(send("POST", "https://plex.tv/api/v2/pins"), &p); err != nil {
		b.Fatal(err)
	}
	url := fmt.Sprintf("https://plex.tv/api/v2/pins/%d", p.ID)
	b.ReportAllocs()
	for b.Loop() {
		send("GET", url)
	}
}
