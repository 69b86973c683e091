package elapsed

// NewAsleep is newAsleep.
var NewAsleep = newAsleep
