// Command bench compares the iSCSI proxy with what else could stand in its place: nothing (direct), a copy loop in C, one
// in Go, toxiproxy and socat, all in front of the same target in the same run.
//
// Absolute figures of a shared machine mean little. Each round measures every way once, in random order, and what is
// judged is the median of the rounds' ratios. The proxy is there twice: the ratio of the two is what the measurement is
// worth at that time.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"text/tabwriter"
	"time"
)

// goal is a ratio of rates that the proxy shall reach; one number a workload.
type goal struct {
	way, to string
	least   [4]float64
}

var goals = []goal{
	{ours, toxi, [4]float64{1.25, 1.5, 1.8, 1.4}},
	{ours, cCopy, [4]float64{0.95, 0.9, 0.9, 0.9}},
	{armed, ours, [4]float64{0.97, 0.97, 0.97, 0.97}},
	{ours, goCopy, [4]float64{0.95, 0.95, 0.95, 0.95}},
	{ours, direct, [4]float64{0.6, 0.5, 0.55, 0.55}},
}

// cpuGoal is how much of toxiproxy's processor time for one command ours may take: steadier than any rate on a machine
// that is shared.
var cpuGoal = [4]float64{0.75, 0.7, 0.55, 0.55}

// options are what a run is told.
type options struct {
	rounds      int
	each        time.Duration
	own, disk   bool
	other, only string
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 40, "how often every way is measured")
	flag.DurationVar(&o.each, "each", 120*time.Millisecond, "how long one measurement lasts")
	flag.BoolVar(&o.own, "own", false, "this project's initiator makes the load, also where a lean one in C can be built")
	flag.BoolVar(&o.disk, "disk", false, "a target that keeps what is written (in memory), instead of one that does nothing")
	flag.StringVar(&o.other, "other", "", "another build of this program: its proxy is one more way, to see what a change does")
	flag.StringVar(&o.only, "only", "", "ways to measure, by the names that are printed, with semicolons between; direct is always one (default: all)")
	asChild := flag.String("child", "", "")
	to := flag.String("target", "", "")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := func() error {
		if *asChild != "" {
			return child(*asChild, *to)
		}
		return run(ctx, o)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: "+err.Error())
		os.Exit(1)
	}
}

// taken is all that was measured, by workload and way, one result a round.
type taken [4]map[string][]result

func run(ctx context.Context, o options) (err error) {
	base := "/dev/shm"
	if _, err := os.Stat(base); err != nil {
		base = ""
	}
	dir, err := os.MkdirTemp(base, "bench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	portal, stop, err := target(ctx, dir, o.disk)
	if err != nil {
		return err
	}
	defer stop()
	list, missing, err := ways(ctx, portal, dir, o)
	defer func() {
		for _, w := range list {
			w.stop()
		}
	}()
	if err != nil {
		return err
	}
	for _, m := range missing {
		fmt.Println("left out: " + m)
	}
	var by load
	if !o.own {
		if by, err = newLoad(ctx, dir); err != nil {
			fmt.Printf("this project's initiator makes the load, by which all ways look more alike: %v\n", err)
		}
	}
	for _, w := range list { // what is fast because it is wrong shall not be measured: every way serves both initiators
		for _, k := range works {
			for _, l := range []load{{}, by} {
				if _, err := l.measure(ctx, w, k, 10*time.Millisecond); err != nil {
					return err
				}
			}
		}
	}
	var got taken
	for k := range works {
		got[k] = map[string][]result{}
	}
	for range o.rounds {
		for k := range works {
			rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
			for _, w := range list {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				r, err := by.measure(ctx, w, works[k], o.each)
				if err != nil {
					return err
				}
				got[k][w.name] = append(got[k][w.name], r)
			}
		}
	}
	got.print()
	return nil
}

func median(v []float64) float64 {
	slices.Sort(v)
	if len(v) == 0 {
		return 0
	}
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// ratio is the median, and the quartiles, of the rounds' ratios of two ways.
func ratio(a, b []result) (low, mid, high float64) {
	var v []float64
	for i := range a {
		v = append(v, a[i].rate/b[i].rate)
	}
	mid = median(v) // sorts
	return v[len(v)/4], mid, v[len(v)*3/4]
}

// perOp is the median of the rounds' processor time for one command, in microseconds.
func perOp(rs []result, of func(result) time.Duration) float64 {
	var v []float64
	for _, r := range rs {
		v = append(v, float64(of(r).Nanoseconds())/1e3/float64(r.ops))
	}
	return median(v)
}

func rate(rs []result) float64 {
	var v []float64
	for _, r := range rs {
		v = append(v, r.rate)
	}
	return median(v)
}

func itsCPU(r result) time.Duration { return r.cpu }

func loadCPU(r result) time.Duration { return r.load }

func (got taken) print() {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	order := []string{direct, ours, again, armed, another, goCopy, cCopy, toxi, socat}
	for k, w := range works {
		fmt.Fprintf(t, "\n%s\tcommands/s\tof direct\tmiddle half\tits CPU us/command\tthe load's\n", w.name)
		for _, name := range order {
			rs := got[k][name]
			if len(rs) == 0 {
				continue
			}
			low, mid, high := ratio(rs, got[k][direct])
			cpu := "-"
			if name != direct {
				cpu = fmt.Sprintf("%.1f", perOp(rs, itsCPU))
			}
			load := "-"
			if rs[0].load > 0 {
				load = fmt.Sprintf("%.1f", perOp(rs, loadCPU))
			}
			fmt.Fprintf(t, "  %s\t%.0f\t%.2f\t%.2f-%.2f\t%s\t%s\n", name, rate(rs), mid, low, high, cpu, load)
		}
	}
	fmt.Fprintf(t, "\nmedian of the ratios, middle half (to reach)\tdepth 1\tdepth 32\t128K read\t128K write\n")
	for _, g := range append([]goal{{way: again, to: ours}, {way: ours, to: another}}, goals...) {
		if len(got[0][g.way]) == 0 || len(got[0][g.to]) == 0 {
			continue
		}
		fmt.Fprintf(t, "  %s : %s", g.way, g.to)
		for k := range works {
			low, mid, high := ratio(got[k][g.way], got[k][g.to])
			fmt.Fprintf(t, "\t%.2f %.2f-%.2f", mid, low, high)
			switch {
			case g.least[k] == 0:
			case mid < g.least[k]:
				fmt.Fprintf(t, " (%.2f) MISSED", g.least[k])
			default:
				fmt.Fprintf(t, " (%.2f) ok", g.least[k])
			}
		}
		fmt.Fprintln(t)
	}
	if len(got[0][toxi]) > 0 {
		fmt.Fprintf(t, "  CPU of %s : %s", ours, toxi)
		for k := range works {
			v := perOp(got[k][ours], itsCPU) / perOp(got[k][toxi], itsCPU)
			word := "ok"
			if v > cpuGoal[k] {
				word = "MISSED"
			}
			fmt.Fprintf(t, "\t%.2f (%.2f) %s", v, cpuGoal[k], word)
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush()
}
