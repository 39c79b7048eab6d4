// Package integrity has the claims that nothing is ever damaged: document 1, G1.
package integrity
