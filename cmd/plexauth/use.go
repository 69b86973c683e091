package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/plain"
)

const useUsage = `use [flags] [SERVER]

Chooses the media server. SERVER is its name or machine id, as "plexauth servers" lists
them, or an address such as http://192.168.1.5:32400. Without SERVER it asks.`

// use chooses the media server.
func (p *program) use(ctx context.Context, args []string) error {
	flags := p.flags("use")
	wanted, err := p.parse(flags, args, 1, useUsage)
	if err != nil {
		return err
	}
	l, err := p.open("", nil)
	if err != nil {
		return err
	}
	defer l.close()
	servers, err := l.Servers(ctx)
	if err != nil {
		return err
	}
	if len(wanted) == 0 {
		return p.useOneOf(ctx, l, servers)
	}
	server, err := serverNamed(servers, wanted[0])
	if err != nil {
		return err
	}
	if server != nil {
		return p.useServer(ctx, l, *server)
	}
	err = p.useServer(ctx, l, plexauth.Server{MachineID: wanted[0]})
	if exitStatus(err) == exitFailed && !strings.ContainsAny(wanted[0], ".:/") {
		err = noSuchServer(wanted[0], servers)
	}
	return err
}

// noSuchServer returns the error for a word that is neither the name of a server nor an
// address where one answers.
func noSuchServer(wanted string, servers []plexauth.Server) error {
	err := fmt.Errorf("there is no server %q, neither in the account nor at an address with that name", plain.Line(wanted))
	if len(servers) == 0 {
		return advised{err, noServers}
	}
	return advised{err, "The account may use: " + namesOf(servers)}
}

// noServers says that there is nothing to choose from.
const noServers = "This account may use no media server."

// useOneOf asks which of servers to use.
func (p *program) useOneOf(ctx context.Context, l *login, servers []plexauth.Server) error {
	if len(servers) == 0 {
		fmt.Fprintln(p.stderr, noServers)
		return silent(exitFailed)
	}
	server, err := p.ask(ctx, servers)
	if err != nil {
		return err
	}
	if server == nil {
		fmt.Fprintln(p.stderr, "Not chosen.")
		return silent(exitFailed)
	}
	return p.useServer(ctx, l, *server)
}

// useServer makes a server the one of the login, and prints it.
func (p *program) useServer(ctx context.Context, l *login, server plexauth.Server) error {
	settings, err := l.UseServer(ctx, server.MachineID)
	if err != nil && ctx.Err() == nil {
		return serverError{err}
	}
	if err == nil {
		p.printServer(server.Name, settings)
	}
	return err
}

// serverNamed returns the server with that machine id or name; nil if there is none.
func serverNamed(servers []plexauth.Server, wanted string) (*plexauth.Server, error) {
	var found []plexauth.Server
	for i, s := range servers {
		if s.MachineID == wanted {
			return &servers[i], nil
		}
		if strings.EqualFold(s.Name, wanted) {
			found = append(found, s)
		}
	}
	switch len(found) {
	case 0:
		return nil, nil
	case 1:
		return &found[0], nil
	}
	var ids []string
	for _, s := range found {
		ids = append(ids, plain.Line(s.MachineID)+of(s.Owner))
	}
	return nil, fmt.Errorf("several servers have the name %q: give the machine id of one, %s", plain.Line(wanted), strings.Join(ids, " or "))
}

// namesOf returns the names of servers, for a message.
func namesOf(servers []plexauth.Server) string {
	var names []string
	for _, s := range servers {
		names = append(names, plain.Line(s.Name))
	}
	return strings.Join(names, ", ")
}
