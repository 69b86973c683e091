// Package plexauth signs a user in to Plex.
package plexauth
