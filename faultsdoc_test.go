package plexauth_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// faultsDocument returns docs/faults.md.
func faultsDocument() string {
	var b strings.Builder
	b.WriteString(`# What happens when plex.tv fails

Each operation meets each fault, on one of its requests. A test writes this page (` + "`go test -run TestFaultMatrix -update .`" + `), from
the same rules that it holds the library to. Each cell says which kind of error is returned (errors.Is finds that kind and
no other), what the store holds, how many requests were made in all, and how long the call took. Neither the error, however
it is printed, nor the log shows a token, a key or the number of a PIN. If a call fails, the test ends the fault and calls
once more: nothing was lost, and plex.tv is not asked again if it has said no.

- A fault lasts until the call returns. "Redirect on plex.tv" is the exception: it leads to the true answer.
- "200 XML" and the like: status and body; "401/1001": status and plex.tv's code; "422 on the token": its older words.
- \*Error: an error without a kind of its own, with plex.tv's status, code and words.
- An attempt takes ten seconds at most, four at a media server. A read is repeated three times after a temporary failure,
  a write only if it certainly had no effect. A check of a PIN is repeated by the next one, which may take ten seconds
  longer after one that was too slow, thirty at most. A rate limit is waited for once, for two seconds at most.
- The PIN of a Wait is valid for five minutes here.

`)
	for _, o := range operations {
		fmt.Fprintf(&b, "## %s\n\n`%s`. The fault strikes `%s %s`.\n\n", strings.ToUpper(o.name[:1])+o.name[1:], o.call, o.hits.Method, o.hits.Path)
		var names, rows []string
		for _, f := range wireFaults {
			names, rows = append(names, f.name), append(rows, o.expect(f).row())
		}
		writeTable(&b, names, rows)
	}
	b.WriteString(`## When the store fails

The store fails when an operation saves. Data that exists nowhere else, such as a token whose predecessor plex.tv has
already ended, is saved again and again, for five minutes at most. Every other failure is reported at once. A call of a
store that hangs is given up after half a minute. No error shows what could not be written.

`)
	b.WriteString(savesDocument())
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// writeTable writes a table of faults and outcomes, with equal outcomes in one row.
func writeTable(b *strings.Builder, names, rows []string) {
	b.WriteString("| fault | error | the store holds | requests | takes |\n|---|---|---|---|---|\n")
	under := map[string][]string{}
	for i, row := range rows {
		under[row] = append(under[row], names[i])
	}
	for _, row := range rows {
		if under[row] != nil {
			fmt.Fprintf(b, "| %s | %s |\n", strings.Join(under[row], ", "), row)
			delete(under, row)
		}
	}
	b.WriteString("\n")
}

// row returns an outcome as a row of a table.
func (x outcome) row() string {
	var names []string
	for _, k := range errorKinds {
		if slices.Contains(x.is, k.is) {
			names = append(names, k.name)
		}
	}
	if slices.Contains(x.is, context.DeadlineExceeded) {
		names = append(names, "ctx's")
	}
	switch {
	case !x.fails:
		names = []string{"–"}
	case len(names) == 0:
		names = []string{"\\*Error"}
	}
	requests := fmt.Sprint(x.least)
	if x.most > x.least {
		requests += fmt.Sprintf("–%d", x.most)
	}
	return fmt.Sprintf("%s | %s | %s | %s", strings.Join(names, ", "), x.store, requests, span(x.took, x.within))
}

// span returns a range of time as text.
func span(from, to time.Duration) string {
	text := func(d time.Duration) string {
		if d >= 100*time.Second {
			return fmt.Sprintf("%.1f min", d.Minutes())
		}
		return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Seconds()), ".0") + " s"
	}
	switch {
	case to == 0:
		return "no time"
	case text(from) == text(to):
		return text(to)
	}
	return text(from) + " to " + text(to)
}

// savesDocument returns the part of docs/faults.md about stores.
func savesDocument() string {
	var b strings.Builder
	for _, s := range savings {
		fmt.Fprintf(&b, "### %s\n\n`%s`.\n\n", strings.ToUpper(s.name[:1])+s.name[1:], s.call)
		var names, rows []string
		for _, f := range storeFaults {
			names, rows = append(names, f.name), append(rows, s.expect(f).row())
		}
		writeTable(&b, names, rows)
	}
	return b.String()
}
