package plextv

import (
	"bytes"
	"cmp"
	"encoding/json"
	"encoding/xml"
	"strconv"
	"strings"

	"github.com/plexauth/plexauth/internal/lax"
)

// Codes that plex.tv puts into its errors, as its answers show.
const (
	codeUnauthorized = 1001 // with 401: "User could not be authenticated"
	codeRateLimited  = 1003 // with 400 or 429: too many requests
	codePINUnknown   = 1020 // with 404: "Code not found or expired"
	codeHomePIN      = 1041 // with 403: "A valid PIN is required to perform this action"
	codeHomePINOther = 1038 // the same, of other parts of plex.tv
)

// envelope is plex.tv's own form of an error.
type envelope struct {
	code    int
	message string
}

// parseEnvelope reads the three forms of plex.tv's errors. ok is false for anything
// else: a proxy's page, the sign-in page of a network, or nothing.
//
//	{"errors":[{"code":1001,"message":"User could not be authenticated","status":401}]}
//	<errors><error code="1001" message="User could not be authenticated"/></errors>
//	<Response code="503" title="Maintenance" status="Plex is tidying up"/>
func parseEnvelope(body []byte) (env envelope, ok bool) {
	body = bytes.TrimSpace(body)
	switch {
	case len(body) == 0:
	case body[0] == '{':
		return parseJSONEnvelope(body)
	case body[0] == '<':
		return parseXMLEnvelope(body)
	}
	return env, false
}

func parseJSONEnvelope(body []byte) (env envelope, ok bool) {
	var j struct {
		Errors []struct {
			Code    json.RawMessage `json:"code"`
			Message json.RawMessage `json:"message"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &j) != nil || len(j.Errors) == 0 {
		return env, false
	}
	code, _ := lax.Number(j.Errors[0].Code)
	return envelope{int(code), lax.Text(j.Errors[0].Message)}, true
}

func parseXMLEnvelope(body []byte) (env envelope, ok bool) {
	var x struct {
		XMLName xml.Name
		Code    string `xml:"code,attr"` // of Response: the HTTP status
		Title   string `xml:"title,attr"`
		Status  string `xml:"status,attr"` // of Response: its message
		Errors  []struct {
			Code    string `xml:"code,attr"`
			Message string `xml:"message,attr"`
			Text    string `xml:",chardata"`
		} `xml:"error"`
	}
	if xml.Unmarshal(body, &x) != nil {
		return env, false
	}
	switch {
	case x.XMLName.Local == "errors" && len(x.Errors) > 0:
		env.code, _ = strconv.Atoi(x.Errors[0].Code)
		env.message = strings.TrimSpace(x.Errors[0].Message + " " + x.Errors[0].Text)
		return env, true
	case x.XMLName.Local == "Response" && x.Code != "":
		return envelope{message: cmp.Or(strings.TrimSpace(x.Status), x.Title)}, true
	}
	return env, false
}
