package sqlstore

// statements are the SQL of a kind of table.
//
// read and reread return the columns of a [row]: document, version, writes, stamp, patch. Where
// the document is the one that reread's parameters describe, it returns unchanged in its place.
// insert, update and patch return the stamp of the row that they have written, if the kind has
// stamps.
type statements struct {
	read, reread, insert, update, patch string // reread and patch are empty if the kind has none
	hasStamps                           bool
}

// unchanged is no JSON.
const unchanged = "="

// plainStatements are for SQLite, and for a table on PostgreSQL without the column patch. SQLite has
// nothing that changes with every write, but it is near: it compares the document itself.
var plainStatements = map[Dialect]statements{
	PostgreSQL: {
		read:   `SELECT document, version, writes, ''::text, NULL::text FROM plexauth_config WHERE namespace = $1`,
		insert: `INSERT INTO plexauth_config (namespace, document, version, writes) VALUES ($1, $2, 1, $3) ON CONFLICT (namespace) DO NOTHING`,
		update: `UPDATE plexauth_config SET document = $1, version = version + 1, writes = $2, updated_at = CURRENT_TIMESTAMP WHERE namespace = $3 AND version = $4`,
	},
	SQLite: {
		read:   `SELECT document, version, writes, '', NULL FROM plexauth_config WHERE namespace = ?1`,
		reread: `SELECT CASE WHEN CAST(document AS BLOB) = ?2 THEN '=' ELSE document END, version, writes, '', NULL FROM plexauth_config WHERE namespace = ?1`,
		insert: `INSERT INTO plexauth_config (namespace, document, version, writes) VALUES (?1, ?2, 1, ?3) ON CONFLICT (namespace) DO NOTHING`,
		update: `UPDATE plexauth_config SET document = ?1, version = version + 1, writes = ?2, updated_at = CURRENT_TIMESTAMP WHERE namespace = ?3 AND version = ?4`,
	},
}

// patchStatements are for a table on PostgreSQL that has the column patch. The stamp is xmin, the
// transaction that wrote the row. It changes with every write, also with one that is made by hand
// and leaves the version as it was.
var patchStatements = statements{
	read:      `SELECT document, version, writes, xmin::text, patch FROM plexauth_config WHERE namespace = $1`,
	reread:    `SELECT CASE WHEN version = $2 AND xmin::text = $3 THEN '=' ELSE document END, version, writes, xmin::text, patch FROM plexauth_config WHERE namespace = $1`,
	insert:    `INSERT INTO plexauth_config (namespace, document, version, writes) VALUES ($1, $2, 1, $3) ON CONFLICT (namespace) DO NOTHING RETURNING xmin::text`,
	update:    `UPDATE plexauth_config SET document = $1, patch = NULL, version = version + 1, writes = $2, updated_at = CURRENT_TIMESTAMP WHERE namespace = $3 AND version = $4 RETURNING xmin::text`,
	patch:     `UPDATE plexauth_config SET patch = $1, version = version + 1, writes = $2, updated_at = CURRENT_TIMESTAMP WHERE namespace = $3 AND version = $4 AND xmin::text = $5 RETURNING xmin::text`,
	hasStamps: true,
}
