// Package suites_test is the one place where Ginkgo's specs are run: it links the drivers and the claims, and no more.
// Another repository does the same with the drivers and claims that it wants, and its own.
package suites_test

import (
	"testing"

	"github.com/onsi/ginkgo/v2"

	_ "github.com/allpathsdown/allpathsdown/suites/all"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

func TestSuites(t *testing.T) {
	suite, reporter := claim.Suite(t)
	ginkgo.RunSpecs(t, "All Paths Down", suite, reporter)
}
