package crosswatch

// CreateFile is exported for tests of a race that cannot be caused from outside.
var CreateFile = createFile

// CreateEmpty is exported for tests because test machines have hard links.
var CreateEmpty = createEmpty
