package lax_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth/internal/lax"
)

// G4: a value that drifted into another type is still read, and anything else is absent.
func TestValues(t *testing.T) {
	type want struct {
		text   string
		number float64
		isNum  bool
		whole  int64
		is     bool
		isBool bool
	}
	for raw, w := range map[string]want{
		`"7"`:                 {"7", 7, true, 7, false, false},
		`7`:                   {"7", 7, true, 7, false, false},
		`7.0`:                 {"7.0", 7, true, 7, false, false},
		`7.5`:                 {"7.5", 7.5, true, 0, false, false},
		`" 8 "`:               {" 8 ", 8, true, 8, false, false},
		`-3`:                  {"-3", -3, true, -3, false, false},
		`1e3`:                 {"1e3", 1000, true, 1000, false, false},
		`9223372036854775807`: {"9223372036854775807", 9223372036854775807, true, 9223372036854775807, false, false},
		`1`:                   {"1", 1, true, 1, true, true},
		`"0"`:                 {"0", 0, true, 0, false, true},
		`true`:                {"", 0, false, 0, true, true},
		`false`:               {"", 0, false, 0, false, true},
		`"9007199254740993"`:  {"9007199254740993", 9007199254740992, true, 9007199254740993, false, false},
		`9223372036854775808`: {"9223372036854775808", 9223372036854775808, true, 0, false, false},
		`-9.3e18`:             {"-9.3e18", -9.3e18, true, 0, false, false},
		`1e999`:               {"1e999", 0, false, 0, false, false},
		`"a\`:                 {},
		`"Yes"`:               {"Yes", 0, false, 0, true, true},
		`"off"`:               {"off", 0, false, 0, false, true},
		`"NaN"`:               {"NaN", 0, false, 0, false, false},
		`"x"`:                 {"x", 0, false, 0, false, false},
		`"\u0061"`:            {"a", 0, false, 0, false, false},
		`null`:                {},
		`{}`:                  {},
		`[1]`:                 {},
		``:                    {},
	} {
		v := json.RawMessage(raw)
		assert.Equal(t, w.text, lax.Text(v), raw)
		f, ok := lax.Number(v)
		assert.Equal(t, w.isNum, ok, raw)
		if ok {
			assert.Equal(t, w.number, f, raw)
		}
		assert.Equal(t, w.whole, lax.Int(v), raw)
		is, known := lax.Bool(v)
		assert.Equal(t, []bool{w.is, w.isBool}, []bool{is, known}, raw)
	}
}

// Members are read in order, whatever bytes a name may have; anything but an object is an error.
func TestObject(t *testing.T) {
	var got []string
	err := lax.Object([]byte("{\"a\":1,\"caf\\u00e9\":\"x\xff\",\"a\":[2]}"), func(key []byte, value json.RawMessage) {
		got = append(got, string(key)+"="+string(value))
	})
	assert.NoError(t, err)
	assert.Equal(t, []string{"a=1", "café=\"x\ufffd\"", "a=[2]"}, got)
	for _, body := range []string{"", "null", "[]", `{"a":1`, `{"a":1} x`} {
		assert.ErrorIs(t, lax.Object([]byte(body), func([]byte, json.RawMessage) {}), lax.ErrNotObject, body)
	}
}

// A field of another shape counts as absent, and spoils no other field.
func TestUnmarshal(t *testing.T) {
	type fields struct {
		S lax.String
		I lax.Integer
		B lax.Boolean
		L []int
	}
	for body, want := range map[string]fields{
		`{"S":5,"I":"6","B":1,"L":[1]}`:         {"5", 6, true, []int{1}},
		`{"S":null,"I":{},"B":[],"L":null}`:     {},
		`{"S":"x","L":"none","I":6,"B":"true"}`: {"x", 6, true, nil},
		`[]`:                                    {},
	} {
		var got fields
		assert.NoError(t, lax.Unmarshal([]byte(body), &got), body)
		assert.Equal(t, want, got, body)
	}
	assert.Error(t, lax.Unmarshal([]byte(`{"S":`), new(fields)))
}
