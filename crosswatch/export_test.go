package crosswatch

// WriteNew is writeNew, whose moment no test can choose from outside.
var WriteNew = writeNew

// WriteExclusive is writeNew on a file system without hard links.
var WriteExclusive = writeExclusive
