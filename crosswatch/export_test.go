package crosswatch

// WriteNew is writeNew, whose moment no test can choose from outside.
var WriteNew = writeNew
