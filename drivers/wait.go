// This file waits.

package drivers

import (
	"context"
	"time"
)

// Wait waits for t and tells whether ctx is still good.
func Wait(ctx context.Context, t time.Duration) bool {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
