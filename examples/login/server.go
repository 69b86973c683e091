package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// findServer finds and saves the media server, and prints which of its addresses
// answer. The login is already saved, so it survives an error.
func findServer(ctx context.Context, in io.Reader, out io.Writer, auth *plexauth.PlexAuth) error {
	settings, err := auth.Inspect(ctx)
	var servers []plexauth.Server
	var choice *plexauth.ServerChoiceError
	if errors.As(err, &choice) {
		servers = choice.Servers
	} else if errors.Is(err, plexauth.ErrUnavailable) && settings.ServerURL != "" {
		fmt.Fprintln(out, err) // the saved server does not answer: offer the others
		servers, _ = auth.Servers(ctx)
	}
	if len(servers) > 0 {
		var server *plexauth.Server
		if server, err = ask(ctx, in, out, servers); server == nil || err != nil {
			return err
		}
		settings, err = auth.UseServer(ctx, server.MachineID)
	}
	if ctx.Err() != nil {
		return err
	}
	if err != nil { // settings may still have a part of the answer
		fmt.Fprintln(out, err)
	}
	if settings.ServerURL == "" {
		return nil
	}
	fmt.Fprintf(out, "Media server %s at %s\nThe server knows this account as number %s.\n\n", visible(short(settings.MachineID)), visible(settings.ServerURL), visible(settings.AccountID))
	probe, err := auth.Probe(ctx, "")
	table := tabwriter.NewWriter(out, 2, 8, 2, ' ', 0)
	for _, a := range probe.Addresses {
		mark := " "
		if a.URL == probe.URL {
			mark = "*"
		}
		fmt.Fprintf(table, "%s %s\t%v\t%s\n", mark, visible(a.URL), a.Took.Round(100*time.Microsecond), a.Finding)
	}
	return errors.Join(table.Flush(), err)
}

// ask lets the user choose one of servers. It returns nil if they choose none.
func ask(ctx context.Context, in io.Reader, out io.Writer, servers []plexauth.Server) (*plexauth.Server, error) {
	fmt.Fprintln(out, "Which media server?")
	for i, s := range servers {
		owner := ""
		if !s.Owned {
			owner = " of " + visible(s.Owner)
		}
		fmt.Fprintf(out, "  %d  %s%s\n", i+1, visible(s.Name), owner)
	}
	lines := make(chan string)
	go func() { // may run until the program exits: reading from a terminal cannot be interrupted
		defer close(lines)
		for scanner := bufio.NewScanner(in); scanner.Scan(); {
			select {
			case lines <- strings.TrimSpace(scanner.Text()):
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		fmt.Fprintf(out, "Enter 1 to %d, or nothing to decide later: ", len(servers))
		select {
		case <-ctx.Done():
			fmt.Fprintln(out)
			return nil, ctx.Err()
		case line, more := <-lines:
			if !more {
				fmt.Fprintln(out)
			}
			if line == "" {
				fmt.Fprintln(out, "Not chosen. Run this again to choose.")
				return nil, nil
			}
			if n, err := strconv.Atoi(line); err == nil && 0 < n && n <= len(servers) {
				return &servers[n-1], nil
			}
		}
	}
}

// short returns the beginning of a machine identifier, for display.
func short(machineID string) string { return machineID[:min(8, len(machineID))] }

// addServer adds a media server to the fake plex.tv. It listens at one address on
// this machine and is listed with a second address that refuses connections.
func addServer(fake *plextest.Server, owner *plextest.User, name string) *httptest.Server {
	listener := httptest.NewUnstartedServer(nil)
	at := listener.Listener.Addr().(*net.TCPAddr)
	media := fake.AddMediaServer(owner, plextest.MediaServer{Name: name, Connections: []plextest.Connection{
		{Address: at.IP.String(), Port: at.Port, URI: "http://" + at.String(), Local: true},
		{Address: "127.0.0.1", Port: 1, URI: "http://127.0.0.1:1", Local: true, Refused: true},
	}})
	listener.Config.Handler = media.Handler()
	listener.Start()
	return listener
}
