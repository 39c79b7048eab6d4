//go:build !linux && !windows

// This file lets the package compile where there is no agent yet. Such an agent says hello and takes commands, no more.

package resident

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
)

var (
	errNone = errors.New("this agent does not know this operating system")
	begun   = time.Now()
)

const defaultDir, defaultKmsg, defaultSeed, defaultFolder = "", "", "", ""

type (
	disk struct {
		node    string
		without map[string]string
	}
	device  struct{}
	logFile struct{}
)

func monotonic() int64                           { return int64(time.Since(begun)) }
func lockMemory() error                          { return errNone }
func rootDisk(o Options) disk                    { return disk{node: o.Device} }
func hostFacts(disk) agent.Hello                 { return agent.Hello{} }
func systemState(disk) agent.System              { return agent.System{} }
func dropCaches(time.Duration) error             { return errNone }
func leave() error                               { return nil }
func openDevice(disk) (*device, error)           { return nil, errNone }
func (*device) read() error                      { return errNone }
func openLog(string) (*logFile, error)           { return nil, errNone }
func (*logFile) append([]byte, int64) error      { return errNone }
func (*logFile) close()                          {}
func openUncached(string) (io.ReadCloser, error) { return nil, errNone }

func (*resident) alongside(context.Context, disk) {}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
