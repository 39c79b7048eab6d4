// Package apd has the claims about a host that loses all paths to its datastore: document 1, E2 to E14.
package apd
