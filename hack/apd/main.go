// Command apd is the operator's command: list and check what a lab can judge, run it, undo what a run left, rebuild reports,
// and play with a lab in a box by hand.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/allpathsdown/allpathsdown/fixtures/embedded"
	"github.com/allpathsdown/allpathsdown/fixtures/lab"
	"github.com/allpathsdown/allpathsdown/fixtures/undo"
	_ "github.com/allpathsdown/allpathsdown/suites/all"
)

// The exit codes: 0 for all that holds.
const (
	exitRefuted = 1
	exitNotRun  = 2 // also for what was typed wrong
)

// command is one of apd's commands.
type command struct {
	name, args, help string
	run              func(ctx context.Context, args []string) error
}

var commands = []command{
	{"run", "--lab FILE [--lab FILE]... [--labels FILTER] [--profile quick|documented]", "break the storage of each lab and judge the claims", cmdRun},
	{"campaign", "--claim CAMPAIGN --lab FILE [--hold 15m,20m] [--trials N] [--out DIR] [--confidence 0.95]", "do one trial many times, and judge what is said of how often something happens; given again it goes on", cmdCampaign},
	{"list", "[LAB]", "every claim: id, labels, needs, and what the lab would skip and why", cmdList},
	{"doctor", "LAB", "check a lab without breaking anything", cmdDoctor},
	{"undo", "LAB", "put back what a run that died has left broken", cmdUndo},
	{"watch", "[--listen ADDRESS:PORT] RUN", "show a run's report in a browser of this machine, and follow the run until ^C; of a folder of runs the newest", cmdWatch},
	{"report", "RUN [--junit jenkins10|dtkit4]", "build the reports of a run's folder again, from its record", cmdReport},
	{"compare", "A B [--out DIR] [--force]", "a later run beside an earlier one: which verdicts turned, which values moved, what else is different; exit code 1 for a claim that held and does not any more", cmdCompare},
	{"rejudge", "RUN... [--out DIR]", "ask today's claims about old records: what they say now and did not say then; exit code 1 when anything changed", cmdRejudge},
	{"history", "DIR [--out DIR]", "all runs below a folder: how often each claim had which verdict, and how its value spreads", cmdHistory},
	{"beside", "RUN RUN...", "one report of several runs, target beside target: do they behave alike (E10)", cmdBeside},
	{"contrast", "[--scenario S] [--out DIR] RUN RUN...", "one fault on several platforms, in a table and a picture: what stopped, for how long, who had to act (X1)", cmdContrast},
	{"overlay", "CLAIM RUN RUN... [--out DIR]", "one claim over several platforms, aligned at their faults, in a table and a picture", cmdOverlay},
	{"lab up", "LAB [--profile P]", "bring a lab in a box up and leave it", cmdLabUp},
	{"lab status", "LAB", "what runs, and every address", cmdLabStatus},
	{"lab env", "LAB", "GOVC_* variables for its vSphere endpoint, for eval", cmdLabEnv},
	{"lab down", "LAB", "take it down", cmdLabDown},
	{"lab cut", "LAB [--kind K]", "break its storage by hand: service-stop (default), reset, blackhole, link-down, login-reject, lun-gone, target-reboot, ...", cmdLabCut},
	{"lab stall", "LAB [--lun N] [--op read|write|any] [--count N] [--answer-abort]", "lose single commands by hand", cmdLabStall},
	{"lab restore", "LAB", "mend what was broken by hand", cmdLabRestore},
	{"proxy", "--listen HOST:PORT --target HOST:PORT [--control SOCKET]", "stand between real initiators and a real target until ^C, and break what the control socket says", cmdProxy},
}

// errRefuted and errNotRun carry an exit code, with nothing left to print.
var (
	errRefuted = errors.New("a claim was refuted")
	errNotRun  = errors.New("not everything could be judged")
)

func main() {
	undo.RunGuardIfAsked(lab.OpenForUndo)
	embedded.RunSupervisorIfAsked()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := dispatch(ctx, os.Args[1:])
	stop()
	switch {
	case err == nil:
	case errors.Is(err, errRefuted):
		os.Exit(exitRefuted)
	case errors.Is(err, errNotRun), errors.Is(err, flag.ErrHelp):
		os.Exit(exitNotRun)
	default:
		if jsonOut {
			printJSON(map[string]string{"error": err.Error()})
		}
		fmt.Fprintln(os.Stderr, "apd: "+err.Error())
		os.Exit(exitNotRun)
	}
}

func dispatch(ctx context.Context, args []string) error {
	for _, c := range commands {
		words := strings.Fields(c.name)
		if len(args) >= len(words) && slices.Equal(args[:len(words)], words) {
			return c.run(ctx, args[len(words):])
		}
	}
	usage()
	if len(args) == 0 || args[0] == "help" || args[0] == "--help" || args[0] == "-h" {
		return nil
	}
	return fmt.Errorf("there is no command %q", strings.Join(args, " "))
}

func usage() {
	fmt.Fprint(os.Stderr, "apd finds out what happens to hypervisors and machines when their storage fails.\n\n")
	var table strings.Builder
	for _, c := range commands {
		fmt.Fprintf(&table, "  apd %s %s\n        %s\n", c.name, c.args, c.help)
	}
	fmt.Fprint(os.Stderr, table.String()+"\nEach takes --json. Exit codes: 0 holds, 1 refuted, 2 could not run or not decided.\n")
}

// jsonOut is the flag --json of every command.
var jsonOut bool

// flags makes a command's flag set.
func flags(name string) *flag.FlagSet {
	f := flag.NewFlagSet("apd "+name, flag.ContinueOnError)
	f.BoolVar(&jsonOut, "json", false, "print JSON")
	return f
}

// parse takes flags before and after the other arguments and returns the latter: min to max of them, called names.
func parse(f *flag.FlagSet, args []string, min, max int, names string) ([]string, error) {
	var rest []string
	for len(args) > 0 {
		if err := f.Parse(args); err != nil {
			return nil, err
		}
		args = f.Args()
		if len(args) > 0 {
			rest, args = append(rest, args[0]), args[1:]
		}
	}
	if len(rest) < min || len(rest) > max {
		return nil, fmt.Errorf("%s takes %s, and got %q", f.Name(), names, rest)
	}
	return rest, nil
}

// oneLab parses the arguments of a command that takes one lab file, and loads it.
func oneLab(f *flag.FlagSet, args []string) (*lab.File, error) {
	rest, err := parse(f, args, 1, 1, "one lab file")
	if err != nil {
		return nil, err
	}
	return lab.Load(rest[0])
}

func printJSON(v any) {
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	enc.Encode(v)
}
