// Package guests has the claims about what guests see of it: document 1, C1 to C8, G2 and G3.
package guests
