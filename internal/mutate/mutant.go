package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
)

// A mutant is one change of the program.
type mutant struct {
	pkg       string // import path
	id        int    // number within the package, from 1
	file      string // relative to the module's root
	line, col int
	function  string
	operator  string
	before    string
	after     string
	nth       int  // counts mutants that look the same in one function, from 1
	selected  bool // the package is one that the command line names

	outcome outcome
}

// key identifies a mutant by what does not change when lines are added above it.
func (m *mutant) key() string {
	s := fmt.Sprintf("%s %s %s: %s -> %s", m.file, m.function, m.operator, m.before, m.after)
	if m.nth > 1 {
		s += fmt.Sprintf(" #%d", m.nth)
	}
	return s
}

// String returns the key with line and column.
func (m *mutant) String() string {
	return fmt.Sprintf("%s:%d:%d%s", m.file, m.line, m.col, strings.TrimPrefix(m.key(), m.file))
}

// The operators. A condition counts as true or as false: each condition of an if, a for
// and a switch, each operand of && and ||, and each comparison. That covers what a negated
// condition and a dropped early return would show. A bound takes in its limit, or leaves
// it out. A result of true is false, and the reverse. A statement is left out.
const (
	opCondition = "condition"
	opBound     = "bound"
	opResult    = "result"
	opStatement = "statement"
)

// bounds maps an operator of order to its mutant, and to the function of switchSource
// that stands for it.
var bounds = map[token.Token]struct {
	after    token.Token
	function string
}{
	token.LSS: {token.LEQ, "mutant_lss"},
	token.LEQ: {token.LSS, "mutant_leq"},
	token.GTR: {token.GEQ, "mutant_gtr"},
	token.GEQ: {token.GTR, "mutant_geq"},
}

// An edit replaces length bytes at offset by text.
type edit struct {
	offset, length int
	text           string
}

// An instrumenter puts the mutants of one package into its source. It only inserts
// text within lines, so that the lines keep their numbers.
type instrumenter struct {
	pkg     string
	mutants []*mutant
	seen    map[string]int // how often a key was used

	// of the current file
	fset          *token.FileSet
	name          string
	src           []byte
	opens, closes []edit
	done          map[ast.Expr]bool
	function      string
}

// file returns the source with switches for all its mutants.
func (in *instrumenter) file(name string, src []byte) ([]byte, error) {
	in.fset = token.NewFileSet()
	f, err := parser.ParseFile(in.fset, name, src, parser.SkipObjectResolution|parser.ParseComments)
	if err != nil {
		return nil, err
	}
	in.name, in.src = name, src
	in.opens, in.closes, in.done = nil, nil, map[ast.Expr]bool{}
	for _, d := range f.Decls {
		in.function = "-"
		if fn, ok := d.(*ast.FuncDecl); ok {
			in.function = functionName(fn)
		}
		if g, ok := d.(*ast.GenDecl); ok && g.Tok != token.VAR {
			continue // constants must stay constants
		}
		ast.Inspect(d, in.visit)
	}
	return in.apply(), nil
}

// functionName returns a name like Gate.Enter.
func functionName(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return fn.Name.Name
	}
	t := fn.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
			continue
		case *ast.IndexExpr:
			t = x.X
			continue
		case *ast.IndexListExpr:
			t = x.X
			continue
		case *ast.Ident:
			return x.Name + "." + fn.Name.Name
		}
		return fn.Name.Name
	}
}

func (in *instrumenter) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GenDecl:
		return n.Tok == token.VAR
	case *ast.IfStmt:
		in.condition(n.Cond)
	case *ast.ForStmt:
		in.condition(n.Cond)
	case *ast.SwitchStmt:
		if n.Tag == nil {
			for _, c := range n.Body.List {
				for _, e := range c.(*ast.CaseClause).List {
					in.condition(e)
				}
			}
		}
	case *ast.BinaryExpr:
		in.binary(n)
	case *ast.ReturnStmt:
		in.results(n)
	case *ast.BlockStmt:
		in.statements(n.List)
	case *ast.CaseClause:
		in.statements(n.Body)
	case *ast.CommClause:
		in.statements(n.Body)
	}
	return true
}

// condition adds the mutants of a condition that is true and one that is false. The parts
// of && and || are conditions themselves.
func (in *instrumenter) condition(e ast.Expr) {
	if e == nil {
		return
	}
	inner := ast.Unparen(e)
	if not, ok := inner.(*ast.UnaryExpr); ok && not.Op == token.NOT {
		if b, ok := ast.Unparen(not.X).(*ast.BinaryExpr); ok {
			inner = b
		}
	}
	if b, ok := inner.(*ast.BinaryExpr); ok && isLogical(b.Op) {
		return // visit sees the operands
	}
	if in.done[inner] {
		return
	}
	in.done[inner] = true
	id := in.add(opCondition, inner, inner, "true")
	in.add(opCondition, inner, inner, "false")
	in.wrap(inner, fmt.Sprintf("mutant_condition(%d, ", id), ")")
}

func isLogical(op token.Token) bool { return op == token.LAND || op == token.LOR }

func (in *instrumenter) binary(b *ast.BinaryExpr) {
	if isLogical(b.Op) {
		in.condition(b.X)
		in.condition(b.Y)
		return
	}
	bound, ordered := bounds[b.Op]
	if !ordered && b.Op != token.EQL && b.Op != token.NEQ {
		return
	}
	in.condition(b)
	if !ordered {
		return
	}
	after := in.text(b.X.Pos(), b.X.End()) + " " + bound.after.String() + " " + in.text(b.Y.Pos(), b.Y.End())
	id := in.add(opBound, b, b, after)
	in.wrap(b, fmt.Sprintf("%s(%d, ", bound.function, id), ")")
	in.opens = append(in.opens, edit{in.offset(b.OpPos), len(b.Op.String()), ","})
}

func (in *instrumenter) results(r *ast.ReturnStmt) {
	opposite := map[string]string{"true": "false", "false": "true"}
	for _, e := range r.Results {
		if name, ok := e.(*ast.Ident); ok && opposite[name.Name] != "" {
			after := in.text(r.Pos(), e.Pos()) + " " + opposite[name.Name] + in.text(e.End(), r.End())
			id := in.add(opResult, r, e, after)
			in.wrap(e, fmt.Sprintf("mutant_result(%d, ", id), ")")
		}
	}
}

// statements adds mutants that leave out one of list.
func (in *instrumenter) statements(list []ast.Stmt) {
	for _, s := range list {
		if leavable(s) {
			id := in.add(opStatement, s, s, "left out")
			in.wrap(s, fmt.Sprintf("if mutant_keep(%d) { ", id), " }")
		}
	}
}

// leavable reports whether the program builds without s: s declares nothing, and no
// function ends with it.
func leavable(s ast.Stmt) bool {
	switch s := s.(type) {
	case *ast.ExprStmt:
		call, ok := s.X.(*ast.CallExpr)
		if !ok {
			return true
		}
		name, ok := call.Fun.(*ast.Ident)
		return !ok || name.Name != "panic"
	case *ast.AssignStmt:
		name, ok := s.Lhs[0].(*ast.Ident)
		return s.Tok != token.DEFINE && !(ok && name.Name == "_" && len(s.Lhs) == 1)
	case *ast.IncDecStmt:
		return true
	case *ast.BranchStmt:
		return s.Tok == token.BREAK || s.Tok == token.CONTINUE
	}
	return false
}

// add appends a mutant and returns its number. before is the text that it shows.
func (in *instrumenter) add(operator string, before, at ast.Node, after string) int {
	pos := in.fset.Position(at.Pos())
	m := &mutant{
		pkg: in.pkg, id: len(in.mutants) + 1, file: in.name, line: pos.Line, col: pos.Column,
		function: in.function, operator: operator,
		before: in.text(before.Pos(), before.End()), after: after,
	}
	in.seen[m.key()]++
	m.nth = in.seen[m.key()]
	in.mutants = append(in.mutants, m)
	return m.id
}

// text returns a part of the source on one line, shortened if it is long.
func (in *instrumenter) text(from, to token.Pos) string {
	const most = 100
	s := strings.Join(strings.Fields(string(in.src[in.offset(from):in.offset(to)])), " ")
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return s
}

func (in *instrumenter) offset(p token.Pos) int { return in.fset.Position(p).Offset }

func (in *instrumenter) wrap(n ast.Node, open, end string) {
	in.opens = append(in.opens, edit{offset: in.offset(n.Pos()), text: open})
	in.closes = append(in.closes, edit{offset: in.offset(n.End()), text: end})
}

// apply returns the source with all edits. Outer nodes were visited first: at one offset
// they open first and close last.
func (in *instrumenter) apply() []byte {
	slices.Reverse(in.closes)
	edits := append(in.closes, in.opens...)
	slices.SortStableFunc(edits, func(a, b edit) int { return a.offset - b.offset })
	var out []byte
	at := 0
	for _, e := range edits {
		out = append(out, in.src[at:e.offset]...)
		out = append(out, e.text...)
		at = e.offset + e.length
	}
	return append(out, in.src[at:]...)
}

// switchSource is the file that is added to each package: it says which mutant applies,
// and records which ones a test reaches. %[1]s is the package's name, %[2]q its path and
// %[3]d one more than the number of its mutants.
const switchSource = `package %[1]s

import (
	mutant_cmp "cmp"
	mutant_os "os"
	mutant_strconv "strconv"
	mutant_strings "strings"
	mutant_atomic "sync/atomic"
)

var mutant_active = func() int {
	id, _ := mutant_strings.CutPrefix(mutant_os.Getenv("MUTANT"), %[2]q+":")
	n, _ := mutant_strconv.Atoi(id)
	return n
}()

// mutant_trace is open from the beginning: a test may become a user who cannot open it.
var mutant_trace = func() *mutant_os.File {
	name := mutant_os.Getenv("MUTANT_TRACE")
	if name == "" {
		return nil
	}
	f, err := mutant_os.OpenFile(name, mutant_os.O_APPEND|mutant_os.O_CREATE|mutant_os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	return f
}()

var mutant_reached, mutant_differed [%[3]d]mutant_atomic.Bool

func mutant_write(line string) {
	if _, err := mutant_trace.WriteString(line + "\n"); err != nil {
		panic(err)
	}
}

func mutant_reach(id int) {
	if mutant_trace != nil && !mutant_reached[id].Swap(true) {
		mutant_write("reached:" + %[2]q + ":" + mutant_strconv.Itoa(id))
	}
}

// mutant_is is called where the mutant would make a difference.
func mutant_is(id int) bool {
	if mutant_trace != nil && !mutant_differed[id].Swap(true) {
		mutant_write(%[2]q + ":" + mutant_strconv.Itoa(id))
	}
	return mutant_active == id
}

func mutant_condition[T ~bool](id int, x T) T {
	mutant_reach(id)
	mutant_reach(id + 1)
	if !bool(x) && mutant_is(id) {
		return true
	}
	if bool(x) && mutant_is(id+1) {
		return false
	}
	return x
}

func mutant_result[T ~bool](id int, x T) T { return x != T(mutant_is(id)) }

func mutant_keep(id int) bool { return !mutant_is(id) }

func mutant_equal[T mutant_cmp.Ordered](id int, a, b T) bool {
	mutant_reach(id)
	return a == b && mutant_is(id)
}

func mutant_lss[T mutant_cmp.Ordered](id int, a, b T) bool { return a < b || mutant_equal(id, a, b) }
func mutant_leq[T mutant_cmp.Ordered](id int, a, b T) bool { return a <= b && !mutant_equal(id, a, b) }
func mutant_gtr[T mutant_cmp.Ordered](id int, a, b T) bool { return a > b || mutant_equal(id, a, b) }
func mutant_geq[T mutant_cmp.Ordered](id int, a, b T) bool { return a >= b && !mutant_equal(id, a, b) }
`
