package prune

// Groups is for the tests.
var Groups = groups
