package main

import (
	"bufio"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/plain"
)

// ask lets a person choose one of servers. It returns nil if they choose none. An empty
// line does not count: the person may have pressed Enter while the login was waiting.
func (p *program) ask(ctx context.Context, servers []plexauth.Server) (*plexauth.Server, error) {
	fmt.Fprintln(p.stdout, "Which media server?")
	for i, s := range servers {
		fmt.Fprintf(p.stdout, "  %d  %s%s\n", i+1, plain.Line(s.Name), of(s.Owner))
	}
	lines := make(chan string)
	go func() { // may run until the program exits: reading from a terminal cannot be interrupted
		defer close(lines)
		for scanner := bufio.NewScanner(p.stdin); scanner.Scan(); {
			select {
			case lines <- strings.TrimSpace(scanner.Text()):
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		fmt.Fprintf(p.stdout, "Enter %s, or 0 to choose none: ", numbersTo(len(servers)))
		select {
		case <-ctx.Done():
			fmt.Fprintln(p.stdout)
			return nil, ctx.Err()
		case line, more := <-lines:
			if !more {
				fmt.Fprintln(p.stdout)
				return nil, nil
			}
			if line == "0" {
				return nil, nil
			}
			if n, err := strconv.Atoi(line); err == nil && 0 < n && n <= len(servers) {
				return &servers[n-1], nil
			}
			if line != "" {
				fmt.Fprintf(p.stdout, "%q is not one of these numbers.\n", plain.Short(line))
			}
		}
	}
}

// numbersTo names the numbers from 1 to n.
func numbersTo(n int) string {
	switch n {
	case 1:
		return "1"
	case 2:
		return "1, 2"
	}
	return fmt.Sprintf("1 to %d", n)
}
