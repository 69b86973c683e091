package profile

import (
	"encoding/json"
	"strings"

	"github.com/plexauth/plexauth/internal/lax"
	"github.com/plexauth/plexauth/internal/ordered"
)

func decodeServer(block *ordered.Object) Server {
	verify, isKnown := lax.Bool(block.Get(keyVerifySSL))
	return Server{
		URL:           textField(block, keyServerURL),
		MachineID:     textField(block, keyMachineID),
		Found:         textField(block, keyFound),
		Token:         secretField(block, keyServerToken),
		TokenServer:   text(block, keyTokenServer),
		Unverified:    isKnown && !verify,
		UnverifiedFor: text(block, keyUnverifiedFor),
		Known:         decodeKnownServer(block.Get(keyKnownServer)),
		Certificate:   decodeCertificate(block.Get(keyCertificate)),
		TakesJWT:      decodeTakesJWT(block.Get(keyTakesJWT)),
	}
}

// encodeServer writes what encode has not written; verify_ssl is the user's.
func encodeServer(e *editor, s *Server) {
	encodeKnownServer(e, s.Known)
	e.text(keyTokenServer, s.TokenServer)
	e.field(keyFound, s.Found)
	e.text(keyUnverifiedFor, s.UnverifiedFor)
	encodeCertificate(e, s.Certificate)
	encodeTakesJWT(e, s.TakesJWT)
}

func decodeKnownServer(v json.RawMessage) *KnownServer {
	if v == nil {
		return nil
	}
	o, err := ordered.View(v)
	if err != nil {
		return &KnownServer{Account: lax.Int(v)}
	}
	return &KnownServer{lax.Int(o.Get("account")), MachineAt{lax.Text(o.Get("machine_id")), lax.Text(o.Get("url"))}, lax.Int(o.Get("owner"))}
}

func encodeKnownServer(e *editor, k *KnownServer) {
	if k == nil {
		e.remove(keyKnownServer)
		return
	}
	if stored := decodeKnownServer(e.object.Get(keyKnownServer)); stored == nil || *stored != *k {
		e.replace(keyKnownServer, members{
			{"account", ordered.Int(k.Account)}, {"url", ordered.String(k.URL)},
			{"machine_id", ordered.String(k.MachineID)}, {"owner", ordered.Int(k.Owner)},
		})
	}
}

func decodeCertificate(v json.RawMessage) *Certificate {
	if v == nil {
		return nil
	}
	c := &Certificate{}
	if parts := strings.SplitN(lax.Text(v), " ", 3); len(parts) == 3 {
		c.Hash, c.MachineID, c.URL = parts[0], parts[1], parts[2]
	}
	return c
}

func encodeCertificate(e *editor, c *Certificate) {
	if c == nil || strings.Contains(c.Hash+c.MachineID, " ") { // a space would shift the parts
		e.remove(keyCertificate)
		return
	}
	if stored := decodeCertificate(e.object.Get(keyCertificate)); stored == nil || *stored != *c {
		e.put(keyCertificate, ordered.String(strings.Join([]string{c.Hash, c.MachineID, c.URL}, " ")))
	}
}

func decodeTakesJWT(v json.RawMessage) *MachineAt {
	if v == nil {
		return nil
	}
	m := &MachineAt{}
	if machineID, address, ok := strings.Cut(lax.Text(v), " "); ok {
		m.MachineID, m.URL = machineID, address
	}
	return m
}

func encodeTakesJWT(e *editor, m *MachineAt) {
	if m == nil || strings.Contains(m.MachineID, " ") { // a space would shift the parts
		e.remove(keyTakesJWT)
		return
	}
	if stored := decodeTakesJWT(e.object.Get(keyTakesJWT)); stored == nil || *stored != *m {
		e.put(keyTakesJWT, ordered.String(m.MachineID+" "+m.URL))
	}
}
