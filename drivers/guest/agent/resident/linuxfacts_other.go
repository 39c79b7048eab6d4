//go:build !linux

package resident

import (
	"context"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
)

func ownFacts(context.Context, string) *agent.Linux { return nil }
