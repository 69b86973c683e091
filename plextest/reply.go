package plextest

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// A reply is the fake's answer to one request, before faults.
type reply struct {
	status int
	header http.Header // never nil
	body   []byte
}

func newReply(status int, contentType string, body []byte) reply {
	h := http.Header{}
	if contentType != "" {
		h.Set("Content-Type", contentType)
	}
	return reply{status: status, header: h, body: body}
}

// An object is a JSON object or an XML element. plex.tv sends the same content in
// both formats, so the fake writes both from one description. In XML, scalars are
// attributes, null is "" and true is "1".
type object struct {
	tag    string // the XML element
	fields []field
}

// A field is one member of an object. The value is nil, a string, bool, int,
// int64, time.Time, []string, object or list.
type field struct {
	name     string
	value    any
	optional bool // real answers may have null, or omit it
}

// A list is a JSON array of objects. In XML it is one element named tag, with the
// objects inside.
type list struct {
	tag   string
	items []object
}

// required returns a field that every real answer has.
func required(name string, value any) field { return field{name: name, value: value} }

// optional returns a field that real answers may omit or set to null.
func optional(name string, value any) field { return field{name: name, value: value, optional: true} }

// without returns a copy of o without the named fields.
func (o object) without(names ...string) object {
	o.fields = slices.DeleteFunc(slices.Clone(o.fields), func(f field) bool { return slices.Contains(names, f.name) })
	return o
}

// writeDates replaces the dates in o's own fields by the results of text. plex.tv
// writes dates in several forms.
func (o object) writeDates(text func(time.Time) any) {
	for i, f := range o.fields {
		if at, ok := f.value.(time.Time); ok {
			o.fields[i].value = text(at)
		}
	}
}

// A document is an object or a list.
type document interface {
	appendJSON(b []byte, q Quirks) []byte
	appendXML(b *bytes.Buffer)
}

func (o object) appendJSON(b []byte, q Quirks) []byte {
	b = append(b, '{')
	for i, f := range o.fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSONString(b, f.name)
		b = append(b, ':')
		value := f.value
		if f.optional && q.NullOptionals {
			value = nil
		}
		b = appendJSONValue(b, f.name, value, q)
	}
	if q.ExtraFields {
		if len(o.fields) > 0 {
			b = append(b, ',')
		}
		b = append(b, `"novelty":{"since":"2031","list":[1,"2",null]}`...)
	}
	return append(b, '}')
}

func (l list) appendJSON(b []byte, q Quirks) []byte {
	b = append(b, '[')
	for i, o := range l.items {
		if i > 0 {
			b = append(b, ',')
		}
		b = o.appendJSON(b, q)
	}
	return append(b, ']')
}

// appendJSONValue appends the value of the field name. The name matters for the
// quirk StringIDs.
func appendJSONValue(b []byte, name string, value any, q Quirks) []byte {
	quoted := q.StringIDs && (name == "id" || name == "ownerId" || name == "guestUserID")
	switch v := value.(type) {
	case string:
		return appendJSONString(b, v)
	case bool:
		return strconv.AppendBool(b, v)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case int64:
		if quoted {
			return strconv.AppendQuote(b, strconv.FormatInt(v, 10))
		}
		return strconv.AppendInt(b, v, 10)
	case time.Time:
		return appendJSONString(b, v.UTC().Format(time.RFC3339))
	case []string:
		b = append(b, '[')
		for i, s := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSONString(b, s)
		}
		return append(b, ']')
	case document:
		return v.appendJSON(b, q)
	}
	return append(b, "null"...)
}

func appendJSONString(b []byte, s string) []byte {
	if plain(s) {
		b = append(b, '"')
		b = append(b, s...)
		return append(b, '"')
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always encodes
	return append(b, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...)
}

// plain reports whether s needs no escaping in JSON and has only ASCII characters.
func plain(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func (o object) appendXML(b *bytes.Buffer) {
	b.WriteString("<" + o.tag)
	var children []field
	for _, f := range o.fields {
		text := ""
		switch v := f.value.(type) {
		case string:
			text = v
		case bool:
			text = "0"
			if v {
				text = "1"
			}
		case int:
			text = strconv.Itoa(v)
		case int64:
			text = strconv.FormatInt(v, 10)
		case time.Time:
			text = v.UTC().Format("2006-01-02 15:04:05 UTC")
		case nil:
		default:
			children = append(children, f)
			continue
		}
		b.WriteString(" " + f.name + `="`)
		_ = xml.EscapeText(b, []byte(text)) // a bytes.Buffer never fails
		b.WriteString(`"`)
	}
	if len(children) == 0 {
		b.WriteString("/>")
		return
	}
	b.WriteString(">")
	for _, f := range children {
		switch v := f.value.(type) {
		case []string: // <features><feature id="x"/></features>
			words := list{tag: f.name}
			for _, s := range v {
				words.items = append(words.items, object{f.name[:len(f.name)-1], []field{required("id", s)}})
			}
			words.appendXML(b)
		case document:
			v.appendXML(b)
		}
	}
	b.WriteString("</" + o.tag + ">")
}

func (l list) appendXML(b *bytes.Buffer) {
	b.WriteString("<" + l.tag + ">")
	for _, o := range l.items {
		o.appendXML(b)
	}
	b.WriteString("</" + l.tag + ">")
}

// write returns a reply with d in the format that the request selects.
func (c *call) write(status int, d document) reply {
	if c.wantsJSON {
		return newReply(status, "application/json; charset=utf-8", d.appendJSON(make([]byte, 0, 1024), c.quirks))
	}
	return newXML(status, d)
}

func newXML(status int, d document) reply {
	var b bytes.Buffer
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n")
	d.appendXML(&b)
	b.WriteString("\n")
	return newReply(status, "application/xml; charset=utf-8", b.Bytes())
}

// codes maps the codes of plex.tv's error envelope to their status and message.
// Messages that no public client shows are invented.
var codes = map[int]struct {
	status  int
	message string
}{
	1000: {400, "X-Plex-Client-Identifier is missing"},
	1001: {401, "User could not be authenticated"},
	1002: {404, "The requested resource could not be found"},
	1003: {429, "API rate limit exceeded"},
	1004: {400, "Malformed request"},
	1005: {405, "Method not allowed"},
	1006: {406, "Not acceptable"},
	1007: {500, "Internal server error"},
	1008: {422, "Unprocessable request"},
	1009: {403, "Managed users may not do this"},
	1012: {403, "A subscription is required"},
	1013: {403, "Anonymous users may not do this"},
	1014: {422, "Already exists"},
	1020: {404, "Code not found or expired"},
	1028: {401, "The verification code is invalid"},
	1029: {401, "A verification code is required"},
	1030: {401, "This account signs in by e-mail only"},
	1031: {401, "Too many failures from this address"},
	1041: {403, "A valid PIN is required to perform this action"},
	1069: {422, "The code has expired"},
	1080: {403, "A server token is required"},
	1097: {422, "The issuer is not the device"},
}

// fail returns the error envelope with one of the known codes.
func (c *call) fail(code int) reply {
	known := codes[code]
	return c.failWith(known.status, code, known.message)
}

// failWith returns an error envelope, and remembers its code for the journal.
func (c *call) failWith(status, code int, message string) reply {
	e := object{"error", []field{required("code", code), required("message", message)}}
	if !c.quirks.OmitErrorStatus {
		e.fields = append(e.fields, required("status", status))
	}
	errs := list{tag: "errors", items: []object{e}}
	c.code = code
	if c.wantsJSON {
		q := c.quirks
		q.NullOptionals = false
		return newReply(status, "application/json; charset=utf-8", object{fields: []field{required("errors", errs)}}.appendJSON(nil, q))
	}
	return newXML(status, errs)
}
