package crosswatch

// CreateFile is exported for tests of a race that cannot be caused from outside.
var CreateFile = createFile

// CreateWithoutLinks is exported for tests because test machines have hard links.
var CreateWithoutLinks = createWithoutLinks
