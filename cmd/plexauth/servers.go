package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/plain"
)

const serversUsage = `servers [flags]

Lists the media servers that the account may use, its own first. The chosen one has an
asterisk.`

// listedServer is a media server as "servers -json" prints it.
type listedServer struct {
	plexauth.Server
	Chosen bool `json:"chosen"`
}

// servers lists the media servers that the account may use.
func (p *program) servers(ctx context.Context, args []string) error {
	flags := p.flags("servers")
	asJSON := flags.Bool("json", false, "print JSON")
	if _, err := p.parse(flags, args, 0, serversUsage); err != nil {
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
	settings, err := l.Settings(ctx)
	if err != nil {
		return err
	}
	listed := make([]listedServer, len(servers)) // not nil, so that JSON has a list
	for i, s := range servers {
		listed[i] = listedServer{s, s.MachineID == settings.MachineID}
	}
	if *asJSON {
		return p.printJSON(listed)
	}
	return p.printServers(listed)
}

// printServers prints servers as a table.
func (p *program) printServers(servers []listedServer) error {
	if len(servers) == 0 {
		fmt.Fprintln(p.stdout, noServers)
		return nil
	}
	table := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "  NAME\tOWNER\tSTATE\tMACHINE ID")
	for _, s := range servers {
		mark, owner, state := " ", plain.Line(s.Owner), "offline"
		if s.Chosen {
			mark = "*"
		}
		if s.Owned {
			owner = "you"
		}
		if s.Presence {
			state = "online"
		}
		fmt.Fprintf(table, "%s %s\t%s\t%s\t%s\n", mark, plain.Line(s.Name), owner, state, plain.Line(s.MachineID))
	}
	return table.Flush()
}
