package qrsvg_test

import (
	"encoding/xml"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"rsc.io/qr"

	"github.com/plexauth/plexauth/internal/qrsvg"
)

const margin = 4 // ISO/IEC 18004 asks for four squares around the code

// squares draws what an image shows: true is black.
func squares(t *testing.T, svg []byte) [][]bool {
	t.Helper()
	var image struct {
		XMLName xml.Name `xml:"http://www.w3.org/2000/svg svg"`
		ViewBox string   `xml:"viewBox,attr"`
		Paths   []struct {
			Fill string `xml:"fill,attr"`
			D    string `xml:"d,attr"`
		} `xml:"path"`
	}
	require.NoError(t, xml.Unmarshal(svg, &image))
	var width, height int
	_, err := fmt.Sscanf(image.ViewBox, "0 0 %d %d", &width, &height)
	require.NoError(t, err)
	require.Equal(t, width, height)
	require.Len(t, image.Paths, 2)
	assert.Equal(t, "#fff", image.Paths[0].Fill)
	assert.Equal(t, fmt.Sprintf("M0 0h%dv%dH0z", width, width), image.Paths[0].D, "all of it is white first")
	assert.Equal(t, "#000", image.Paths[1].Fill)

	all := make([][]bool, height)
	for y := range all {
		all[y] = make([]bool, width)
	}
	for run := range strings.SplitSeq(strings.TrimPrefix(image.Paths[1].D, "M"), "M") {
		var x, y, right, left int
		_, err := fmt.Sscanf(run, "%d %dh%dv1h-%dz", &x, &y, &right, &left)
		require.NoError(t, err, run)
		require.Equal(t, right, left, run)
		require.Positive(t, right, run)
		for i := range right {
			require.False(t, all[y][x+i], "drawn twice")
			all[y][x+i] = true
		}
	}
	return all
}

// The image shows the code in a white margin, without which scanners do not find it.
func TestEncode(t *testing.T) {
	for _, link := range []string{"", "https://plex.tv/link/?pin=ABCD", "https://app.plex.tv/auth#?clientID=" + strings.Repeat("a", 300)} {
		svg, err := qrsvg.Encode(link)
		require.NoError(t, err)
		got := squares(t, svg)
		want, err := qr.Encode(link, qr.M)
		require.NoError(t, err)
		require.Len(t, got, want.Size+2*margin)
		for y := range got {
			for x, isBlack := range got[y] {
				require.Equal(t, want.Black(x-margin, y-margin), isBlack, "%d %d", x, y)
			}
		}
	}
}

func TestEncodeTooLong(t *testing.T) {
	_, err := qrsvg.Encode(strings.Repeat("a", 3000))
	assert.Error(t, err)
}
