// Package poweroff has the claims about switching a machine off while its storage is away: document 1, P1 and P5.
package poweroff
