// Package boxtest makes a machine for the tests of path drivers: a process with network, mount and process namespaces of its own,
// whose shells are reached through an SSH server in the test. Nothing of it outlives the test, not even one that is killed: the
// machine's first process ends with the test's end of a pipe, and with it everything in it does.
package boxtest
