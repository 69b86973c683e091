package plextest

import "net/url"

// MediaServer is a fake Plex Media Server.
type MediaServer struct{}

// Connection is one address of a media server.
type Connection struct{ server *MediaServer }

func (s *Server) answerMedia(c *call) reply           { return c.fail(1002) }
func (s *Server) checkMedia(c *call)                  {}
func (s *Server) connectionAt(u *url.URL) *Connection { return nil }
func (s *Server) dial(c *call) error                  { return nil }

// AddMediaServer is not there yet.
func (s *Server) AddMediaServer(u *User, m MediaServer) *MediaServer { return &m }
