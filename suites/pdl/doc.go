// Package pdl has the claims about storage that says that it is gone, which vSphere calls permanent device loss: a target that
// refuses logins, a LUN that is no longer there. The documents do not speak of it; vSphere's own documentation does.
package pdl
